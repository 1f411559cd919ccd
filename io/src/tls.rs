//! TLS 1.3 with both sides authenticated, by keys and not by names.
//!
//! A node shows a certificate that it signed itself with its Ed25519 identity key. Checked here: that the certificate is one,
//! and well formed; that the far end holds its key (the handshake's signature); and that a node id stated in it belongs to the
//! key. Whether the key is *welcome* is for the core to say. Nothing is resumed, so each connection proves its key anew.

use std::sync::Arc;
use std::{fmt, io};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519, SerialNumber};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
#[cfg(not(feature = "turmoil"))]
use rustls::crypto::aws_lc_rs::default_provider as provider;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime, alg_id};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::DefaultTimeProvider;
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName as RawName,
    OtherError, PeerIncompatible, ServerConfig, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use wattle_core::id::NodeId;
use wattle_core::work::PublicKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

#[cfg(feature = "turmoil")]
use crate::simulated::provider;

/// The protocol spoken inside.
pub const ALPN: &[u8] = b"wattle/1";

/// Bytes a certificate may have. Ours have about 300.
const CERTIFICATE_BYTES_MAX: usize = 4096;
const ED25519: &str = "1.3.101.112";

/// Why there is no secure connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Connection or handshake.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Configuration, or a certificate after the handshake.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// Making the own certificate.
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    /// The far end's certificate.
    #[error(transparent)]
    Fault(#[from] CertificateFault),
    /// The far end did not agree on [`ALPN`].
    #[error("the far end does not speak wattle/1")]
    OtherProtocol,
}

impl TlsError {
    /// Finds our own fault in what a handshake failed with.
    fn from_handshake(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) = inner else {
            return Self::Io(error);
        };
        match other.0.downcast_ref::<CertificateFault>() {
            Some(fault) => Self::Fault(fault.clone()),
            None => Self::Io(error),
        }
    }
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// None, or a chain.
    #[error("exactly one certificate is expected")]
    NotOne,
    /// Not readable.
    #[error("the certificate is not well formed")]
    Malformed,
    /// Another kind of key.
    #[error("the certificate's key is not an Ed25519 key")]
    OtherKey,
    /// Signed by someone else.
    #[error("the certificate is not signed by its own key")]
    NotSelfSigned,
    /// The id in it is not the one of its key.
    #[error("the certificate states node id {stated}, but its key belongs to {derived}")]
    OtherNode {
        /// As the certificate says.
        stated: NodeId,
        /// As the key says.
        derived: NodeId,
    },
}

impl From<CertificateFault> for rustls::Error {
    fn from(fault: CertificateFault) -> Self {
        match fault {
            CertificateFault::Malformed => CertificateError::BadEncoding.into(),
            other => CertificateError::Other(OtherError(Arc::new(other))).into(),
        }
    }
}

/// Both ends of TLS for one node.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    keys: Arc<KeyVerifier>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// For the node `node` whose current key is `secret`.
    ///
    /// # Errors
    /// [`TlsError`] if the certificate or the configuration cannot be made.
    pub fn new(secret: &[u8; 32], node: NodeId) -> Result<Self, TlsError> {
        Self::showing(self_signed(secret, node)?, secret)
    }

    fn showing(certificate: CertificateDer<'static>, secret: &[u8; 32]) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let keys = Arc::new(KeyVerifier::new(&provider));
        let versions = &[&rustls::version::TLS13];
        let mut server =
            ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(DefaultTimeProvider))
                .with_protocol_versions(versions)?
                .with_client_cert_verifier(Arc::clone(&keys) as Arc<dyn ClientCertVerifier>)
                .with_single_cert(vec![certificate.clone()], private_key(secret))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_details(provider, Arc::new(DefaultTimeProvider))
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&keys) as Arc<dyn ServerCertVerifier>)
            .with_client_auth_cert(vec![certificate], private_key(secret))?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(Self { acceptor: Arc::new(server).into(), connector: Arc::new(client).into(), keys })
    }

    /// Accepts: the stream, and the key that the far end has proven.
    ///
    /// # Errors
    /// [`TlsError`] says what the far end did not do.
    pub async fn accept<S>(&self, stream: S) -> Result<(TlsStream<S>, PublicKey), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.acceptor.accept(stream).await.map_err(TlsError::from_handshake)?;
        let key = self.proven_key(stream.get_ref().1)?;
        Ok((stream.into(), key))
    }

    /// Dials: the stream, and the key that the far end has proven.
    ///
    /// # Errors
    /// [`TlsError`] says what the far end did not do.
    pub async fn connect<S>(&self, stream: S) -> Result<(TlsStream<S>, PublicKey), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // A name is required and means nothing: it is neither sent nor checked.
        let name = ServerName::try_from("wattle").map_err(io::Error::other)?;
        let stream = self.connector.connect(name, stream).await.map_err(TlsError::from_handshake)?;
        let key = self.proven_key(stream.get_ref().1)?;
        Ok((stream.into(), key))
    }

    fn proven_key(&self, connection: &CommonState) -> Result<PublicKey, TlsError> {
        if connection.alpn_protocol() != Some(ALPN) {
            return Err(TlsError::OtherProtocol);
        }
        let [certificate] = connection.peer_certificates().unwrap_or_default() else {
            return Err(CertificateFault::NotOne.into());
        };
        Ok(self.keys.key_of(certificate)?)
    }
}

/// A certificate for `node`, signed by its own key. The same key and id give the same certificate.
fn self_signed(secret: &[u8; 32], node: NodeId) -> Result<CertificateDer<'static>, rcgen::Error> {
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8(secret)), &PKCS_ED25519)?;
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, node.to_string());
    parameters.serial_number = Some(SerialNumber::from(1));
    Ok(parameters.self_signed(&key)?.der().clone())
}

fn private_key(secret: &[u8; 32]) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(pkcs8(secret).into())
}

/// The secret in the form of RFC 8410.
fn pkcs8(secret: &[u8; 32]) -> Vec<u8> {
    const HEAD: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    [&HEAD[..], secret].concat()
}

/// Takes any well-formed self-signed Ed25519 certificate.
#[derive(Debug)]
struct KeyVerifier {
    algorithms: WebPkiSupportedAlgorithms,
}

impl KeyVerifier {
    fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }

    fn key_of(&self, certificate: &CertificateDer<'_>) -> Result<PublicKey, CertificateFault> {
        if certificate.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateFault::Malformed);
        }
        let Ok(([], parsed)) = X509Certificate::from_der(certificate) else {
            return Err(CertificateFault::Malformed);
        };
        let key_info = parsed.public_key();
        let key = PublicKey::from_slice(&key_info.subject_public_key.data)
            .filter(|_| key_info.algorithm.algorithm.to_id_string() == ED25519)
            .ok_or(CertificateFault::OtherKey)?;
        if parsed.issuer().as_raw() != parsed.subject().as_raw() || !self.is_signed_by(&parsed, &key) {
            return Err(CertificateFault::NotSelfSigned);
        }
        let derived = key.first_node_id();
        for name in parsed.subject().iter_common_name() {
            match name.as_str().ok().and_then(NodeId::parse) {
                Some(stated) if stated != derived => {
                    return Err(CertificateFault::OtherNode { stated, derived });
                }
                _ => {}
            }
        }
        Ok(key)
    }

    fn is_signed_by(&self, certificate: &X509Certificate<'_>, key: &PublicKey) -> bool {
        if certificate.signature_algorithm.algorithm.to_id_string() != ED25519 {
            return false;
        }
        let signed = certificate.tbs_certificate.as_ref();
        self.algorithms.all.iter().any(|algorithm| {
            algorithm.public_key_alg_id() == alg_id::ED25519
                && algorithm.verify_signature(&key.0, signed, &certificate.signature_value.data).is_ok()
        })
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<(), CertificateFault> {
        if !others.is_empty() {
            return Err(CertificateFault::NotOne);
        }
        self.key_of(certificate).map(drop)
    }
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(certificate, others)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for KeyVerifier {
    fn root_hint_subjects(&self) -> &[RawName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(certificate, others)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

/// A node's TLS for tests: honest unless made by one of the other constructors.
#[cfg(test)]
pub(crate) mod testing {
    use wattle_core::work::public_key;

    use super::*;

    /// Of the node whose secret is 32 times that byte.
    pub(crate) fn tls(byte: u8) -> Tls {
        let secret = [byte; 32];
        Tls::new(&secret, key(byte).first_node_id()).unwrap()
    }

    pub(crate) fn key(byte: u8) -> PublicKey {
        public_key(&[byte; 32])
    }
}

#[cfg(test)]
mod tests;
