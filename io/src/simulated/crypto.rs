//! TLS whose random numbers come from the simulation. Its secrets are known to everybody.

use curve25519_dalek::MontgomeryPoint;
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
    aws_lc_rs,
};
use rustls::{Error, NamedGroup, PeerMisbehaved};

/// The provider of production, with other random numbers. The key exchange is our own, since that of a provider draws by itself.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider { secure_random: &Random, kx_groups: vec![&X25519], ..aws_lc_rs::default_provider() }
}

#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        super::fill(bytes);
        Ok(())
    }
}

#[derive(Debug)]
struct X25519;

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = [0; 32];
        super::fill(&mut secret);
        Ok(Box::new(Exchange { secret, public: MontgomeryPoint::mul_base_clamped(secret).0 }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    secret: [u8; 32],
    public: [u8; 32],
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer: [u8; 32] = peer.try_into().map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = MontgomeryPoint(peer).mul_clamped(self.secret);
        Ok(SharedSecret::from(&shared.0[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}
