//! How a server is reached, and what its errors mean.

use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};
use wattle_io::handler::Failure;

use crate::settings::PostgreSqlSettings;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that is silent for so long is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A server that does not take what it is sent is given up after so long.
const GIVE_UP: Duration = Duration::from_secs(30);

/// For each session: a transaction whose handler is gone must not hold the position for long, nor does a handler wait long for it.
const SESSION: &str = "set lock_timeout = '10s'; set idle_in_transaction_session_timeout = '30s'";

/// Begins a transaction: what is committed must be on the disk, since the node forgets a message that is. Said each time, for whoever stands between (a
/// pooler) may give each transaction to another session of the server.
pub(super) const BEGIN: &str = "begin; set local lock_timeout = '10s'; set local idle_in_transaction_session_timeout = '30s'; \
     select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'";

/// What is wrong with how a server is to be reached, if something is.
///
/// # Errors
/// A sentence that says what to do.
pub(super) fn check(settings: &PostgreSqlSettings) -> Result<(), String> {
    let config = read(settings)?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(
            "`connect` asks for TLS (sslmode=require), which this handler does not speak yet".to_owned()
        );
    }
    if let Some(path) = &settings.password_file {
        std::fs::File::open(path)
            .map_err(|error| format!("cannot read the password in {}: {error}", path.display()))?;
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err("`connect` names no host: a directory such as /run/postgresql, or a name".to_owned());
    }
    let far = |host: &&Host| match host {
        Host::Tcp(name) => name != "localhost" && !loopback(name),
        Host::Unix(_) => false,
    };
    let far_host = config.get_hosts().iter().find(far);
    let far_address = config.get_hostaddrs().iter().find(|address| !address.is_loopback());
    if (far_host.is_some() || far_address.is_some()) && !settings.allow_plaintext {
        return Err("`connect` names another machine, and the connection would be without TLS: anyone on the way could read the messages; \
             set allow_plaintext = true if something else protects it (a tunnel, a network of your own)"
            .to_owned());
    }
    Ok(())
}

fn loopback(name: &str) -> bool {
    name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn read(settings: &PostgreSqlSettings) -> Result<Config, String> {
    // Its errors do not repeat what they read, which may hold a password.
    let mut config: Config = settings
        .connect
        .parse()
        .map_err(|error| format!("`connect` is no way to reach a PostgreSQL server: {error}; such is \"host=/run/postgresql dbname=shop user=wattle\""))?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(GIVE_UP);
    }
    if config.get_application_name().is_none() {
        config.application_name("wattle");
    }
    config.keepalives_idle(config.get_keepalives_idle().min(KEEPALIVE));
    Ok(config)
}

/// Connects.
pub(super) async fn connect(settings: &PostgreSqlSettings) -> Result<Client, Trouble> {
    let mut config = read(settings).map_err(Trouble::away)?;
    if let Some(path) = &settings.password_file {
        let password = std::fs::read_to_string(path).map_err(|error| {
            Trouble::away(format!("cannot read the password in {}: {error}", path.display()))
        })?;
        config.password(password.trim_end_matches(['\r', '\n']));
    }
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        // Whoever uses the client is told, too.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a database ended");
        }
    });
    client.batch_execute(SESSION).await?;
    Ok(client)
}

/// What went wrong.
#[derive(Debug)]
pub(super) struct Trouble {
    failure: Failure,
    message: bool,
}

impl Trouble {
    /// It is worth trying again from the beginning.
    pub(super) fn away(text: String) -> Self {
        Self { failure: Failure::away(text), message: false }
    }

    /// Going on might do harm.
    pub(super) fn stop(text: String) -> Self {
        Self { failure: Failure::stop(text), message: false }
    }

    pub(super) const fn is_of_a_message(&self) -> bool {
        self.message
    }

    pub(super) fn failure(self) -> Failure {
        self.failure
    }

    /// Where no message is handled, nothing is a failure of one.
    pub(super) fn at_the_beginning(self) -> Failure {
        if self.message { Failure::away(self.failure.to_string()) } else { self.failure }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(deeper) = cause {
                // Some errors repeat what they are caused by.
                let more = deeper.to_string();
                if !text.ends_with(&more) {
                    text = format!("{text}: {more}");
                }
                cause = deeper.source();
            }
            return Self::away(text);
        };
        let code = said.code().code();
        // Without its detail, which is the row, or the key, that was refused: what is in messages is for the database.
        let text = format!("{} ({code})", said.message());
        // What the message itself brought about: cardinality, data, constraints, routines, `with check option`, limits (a row too long for an index), `raise`.
        let message = ["21", "22", "23", "27", "2F", "38", "39", "44", "54", "P0"]
            .iter()
            .any(|class| code.starts_with(class));
        if message { Self { failure: Failure::message(text), message } } else { Self::away(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(connect: &str) -> PostgreSqlSettings {
        PostgreSqlSettings { connect: connect.to_owned(), ..PostgreSqlSettings::default() }
    }

    #[test]
    fn a_server_elsewhere_is_spoken_to_in_the_clear_only_if_that_is_asked_for() {
        for near in [
            "host=/run/postgresql",
            "host=localhost port=5433",
            "postgresql://wattle@127.0.0.1/shop",
            "host=::1 user=a",
        ] {
            assert_eq!(check(&settings(near)), Ok(()), "{near}");
        }
        for far in [
            "host=db.example dbname=shop",
            "postgresql://wattle@10.0.0.1/shop",
            "host=localhost hostaddr=10.0.0.1",
        ] {
            let why = check(&settings(far)).unwrap_err();
            assert!(why.contains("without TLS"), "{far}: {why}");
            assert_eq!(
                check(&PostgreSqlSettings { allow_plaintext: true, ..settings(far) }),
                Ok(()),
                "{far}"
            );
        }
    }

    #[test]
    fn what_cannot_be_had_is_found_before_it_runs() {
        let why = check(&settings("host=localhost sslmode=require")).unwrap_err();
        assert!(why.contains("does not speak yet"), "{why}");
        let password_file = Some("/nowhere/password".into());
        let why = check(&PostgreSqlSettings { password_file, ..settings("host=localhost") }).unwrap_err();
        assert!(why.contains("cannot read the password in /nowhere/password"), "{why}");
    }

    #[test]
    fn what_is_no_way_to_reach_a_server_is_refused_without_repeating_it() {
        for wrong in [
            "hots=/run/postgresql password=secret",
            "user=wattle password=secret",
            "postgresql://wattle:secret@[1/shop",
        ] {
            let why = check(&settings(wrong)).unwrap_err();
            assert!(why.contains("`connect`") && !why.contains("secret"), "{why}");
        }
    }
}
