use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::testing::{key, tls};
use super::*;

/// Both ends' views of one handshake.
async fn shake(server: &Tls, client: &Tls) -> (Result<PublicKey, TlsError>, Result<PublicKey, TlsError>) {
    let (near, far) = duplex(1 << 16);
    let accept = async {
        let (mut stream, key) = server.accept(near).await?;
        stream.write_all(b"hello").await?;
        stream.shutdown().await?;
        Ok(key)
    };
    let connect = async {
        let (mut stream, key) = client.connect(far).await?;
        // In TLS 1.3 a client hears of its refusal only when it reads.
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await?;
        assert_eq!(text, b"hello");
        Ok(key)
    };
    tokio::join!(accept, connect)
}

fn reason(result: Result<PublicKey, TlsError>) -> String {
    result.expect_err("refused").to_string()
}

/// Shows a certificate of one's own making.
fn showing(
    secret: [u8; 32],
    make: impl FnOnce(&KeyPair, CertificateParams) -> CertificateDer<'static>,
) -> Tls {
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8(&secret).into(), &PKCS_ED25519).unwrap();
    let certificate = make(&pair, CertificateParams::new(Vec::new()).unwrap());
    Tls::showing(certificate, &secret).unwrap()
}

#[tokio::test]
async fn both_ends_learn_each_others_proven_key() {
    let (server, client) = shake(&tls(1), &tls(2)).await;
    assert_eq!(server.unwrap(), key(2));
    assert_eq!(client.unwrap(), key(1));
}

#[tokio::test]
async fn a_certificate_whose_id_disagrees_with_its_key_is_refused_at_both_ends() {
    let liar = Tls::new(&[2; 32], key(3).first_node_id()).unwrap();
    let (server, _) = shake(&tls(1), &liar).await;
    let text = reason(server);
    assert!(text.contains(&key(3).first_node_id().to_string()), "{text}");
    let (_, client) = shake(&liar, &tls(1)).await;
    let text = reason(client);
    assert!(text.contains(&key(2).first_node_id().to_string()), "{text}");
}

#[tokio::test]
async fn a_certificate_without_an_id_is_taken_for_its_key() {
    let plain = showing([2; 32], |pair, parameters| parameters.self_signed(pair).unwrap().der().clone());
    let (server, client) = shake(&tls(1), &plain).await;
    assert_eq!(server.unwrap(), key(2));
    assert!(client.is_ok());
}

#[tokio::test]
async fn a_certificate_signed_by_another_key_is_refused() {
    let lent = showing([2; 32], |pair, parameters| {
        let other = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let issuer = rcgen::Issuer::new(CertificateParams::new(Vec::new()).unwrap(), other);
        parameters.signed_by(pair, &issuer).unwrap().der().clone()
    });
    let (server, client) = shake(&tls(1), &lent).await;
    assert!(reason(server).contains("not signed by its own key"));
    assert!(client.is_err());
}

#[tokio::test]
async fn somebody_elses_certificate_is_worth_nothing_without_the_key() {
    // The configuration refuses a certificate that does not fit the key, so the thief's key is put behind it by hand.
    #[derive(Debug)]
    struct Thief(Arc<rustls::sign::CertifiedKey>);
    impl rustls::client::ResolvesClientCert for Thief {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let stolen = self_signed(&[3; 32], key(3).first_node_id()).unwrap();
    let own_key = provider.key_provider.load_private_key(private_key(&[2; 32])).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KeyVerifier::new(&provider)))
        .with_client_cert_resolver(Arc::new(Thief(Arc::new(rustls::sign::CertifiedKey::new(
            vec![stolen],
            own_key,
        )))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    let thief = Tls { connector: Arc::new(config).into(), ..tls(2) };
    let (server, _) = shake(&tls(1), &thief).await;
    assert!(server.is_err());
}

#[tokio::test]
async fn other_keys_than_ed25519_are_refused() {
    let provider = aws_lc_rs::default_provider();
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&pair).unwrap();
    let fault = KeyVerifier::new(&provider).key_of(certificate.der());
    assert_eq!(fault, Err(CertificateFault::OtherKey));
}

#[test]
fn damaged_certificates_give_a_fault_and_never_a_panic() {
    let verifier = KeyVerifier::new(&aws_lc_rs::default_provider());
    let good = self_signed(&[2; 32], key(2).first_node_id()).unwrap();
    assert_eq!(verifier.key_of(&good), Ok(key(2)));
    for length in 0..good.len() {
        assert!(verifier.key_of(&CertificateDer::from(&good[..length])).is_err(), "cut at {length}");
    }
    let mut refused = 0;
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.to_vec();
            bad[place] ^= 1 << bit;
            // A few bits of the wrapping around what is signed mean nothing; no bit means another key.
            let found = verifier.key_of(&CertificateDer::from(bad));
            assert!(found.is_err() || found == Ok(key(2)), "bit {bit} of byte {place}");
            refused += u32::from(found.is_err());
        }
    }
    assert!(refused as usize > 8 * good.len() - 64, "{refused} of {}", 8 * good.len());
    assert!(verifier.key_of(&CertificateDer::from(vec![0; CERTIFICATE_BYTES_MAX + 1])).is_err());
}

#[tokio::test]
async fn an_end_that_speaks_no_wattle_is_refused() {
    let mut config = ClientConfig::clone(tls(2).connector.config());
    config.alpn_protocols = Vec::new();
    let other = Tls { connector: Arc::new(config).into(), ..tls(2) };
    let (server, _) = shake(&tls(1), &other).await;
    assert!(matches!(server, Err(TlsError::OtherProtocol)));
}

#[tokio::test]
async fn an_end_without_a_certificate_is_refused() {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KeyVerifier::new(&provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let nameless = Tls { connector: Arc::new(config).into(), ..tls(2) };
    let (server, _) = shake(&tls(1), &nameless).await;
    assert!(server.is_err());
}
