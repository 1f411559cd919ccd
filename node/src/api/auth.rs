//! The API token: 256 random bits in a file that only its owner can read.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tonic::{Request, Status};

use super::errors;

/// Name of the token's file in a node's data directory.
pub const TOKEN_FILE: &str = "api-token";

/// What a client must show.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// A new random token.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(blake3::Hash::from(bytes).to_hex().to_string()))
    }

    /// The token of a data directory, made if there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, or others may read it.
    pub fn of_directory(directory: &Path) -> io::Result<(Self, PathBuf)> {
        fs::create_dir_all(directory)?;
        let path = directory.join(TOKEN_FILE);
        match Self::read(&path) {
            Ok(token) => Ok((token, path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = Self::random()?;
                let mut file = tempfile::Builder::new()
                    .permissions(fs::Permissions::from_mode(0o600))
                    .tempfile_in(directory)?;
                file.write_all(token.0.as_bytes())?;
                file.write_all(b"\n")?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|failed| failed.error)?;
                Ok((token, path))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a token's file.
    ///
    /// # Errors
    /// When it cannot be read, is empty, or others than its owner may read it.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = fs::File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(io::Error::other(format!(
                "{} can be read by others (mode {:o}): run `chmod 600` on it, or delete it to get a new token",
                path.display(),
                mode & 0o777
            )));
        }
        let text = io::read_to_string(file)?;
        let text = text.trim();
        if text.is_empty() {
            return Err(io::Error::other(format!(
                "{} is empty: delete it to get a new token",
                path.display()
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// A token given as text, as from the environment.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The value of the `authorization` metadata.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// What a server asks of every request.
    #[must_use]
    pub fn guard(&self) -> Guard {
        Guard { expected: blake3::hash(self.bearer().as_bytes()) }
    }
}

/// Lets through what shows the token.
#[derive(Clone, Debug)]
pub struct Guard {
    // Comparing digests takes the same time wherever the texts differ.
    expected: blake3::Hash,
}

impl tonic::service::Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let shown = request.metadata().get("authorization").map(|value| blake3::hash(value.as_bytes()));
        match shown {
            Some(shown) if shown == self.expected => Ok(request),
            Some(_) => Err(errors::unauthenticated("the API token is wrong")),
            None => Err(errors::unauthenticated("the API token is missing")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::service::Interceptor;

    #[test]
    fn a_directory_keeps_its_token_and_only_the_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let (made, path) = Token::of_directory(directory.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (found, _) = Token::of_directory(directory.path()).unwrap();
        assert_eq!(made, found);
        assert_eq!(made.0.len(), 64, "256 bits in hexadecimal");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Token::of_directory(directory.path()).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn only_the_right_token_passes() {
        let token = Token::from_text("right");
        let mut guard = token.guard();
        let with = |value: &str| {
            let mut request = Request::new(());
            request.metadata_mut().insert("authorization", value.parse().unwrap());
            request
        };
        assert!(guard.call(with("Bearer right")).is_ok());
        for wrong in ["Bearer wrong", "Bearer right ", "right", "Bearer ", "bearer right"] {
            let status = guard.call(with(wrong)).unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unauthenticated, "{wrong:?}");
        }
        assert_eq!(guard.call(Request::new(())).unwrap_err().code(), tonic::Code::Unauthenticated);
    }
}
