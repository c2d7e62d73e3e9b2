use super::fields::PEERS;
use super::peer::PeerConfig;
use super::read::Reader;
use super::value::{address, peer_url};
use crate::finding::Fields;

impl Reader<'_, '_> {
    pub(super) fn peers(&mut self, fields: &Fields<'_>) -> Option<PeerConfig> {
        let node = fields.get("peers")?;
        let fields = self.decoder.fields(node, "peers", PEERS);
        for (key, what) in [("listen", "an address such as :5001"), ("secret", "a file that all caches have")]
        {
            if fields.get(key).is_none() {
                self.decoder.missing(&fields, key, what);
            }
        }
        let listen = self.parsed(&fields, "listen", address);
        let url = self.parsed(&fields, "url", peer_url);
        let secret = self.path(&fields, "secret");
        Some(PeerConfig { listen: listen?, url, secret: secret? })
    }
}
