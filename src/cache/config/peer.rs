use std::net::SocketAddr;
use std::path::PathBuf;

use url::Url;

/// How a cache and the others on its bucket ask each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Where the others ask it.
    pub listen: SocketAddr,
    /// Its URL, as the others reach it; [`None`] is by the address that it listens on.
    pub url: Option<Url>,
    /// A file of the secret that all of them know.
    pub secret: PathBuf,
}

/// What flags and variables say about the other caches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerOverlay {
    /// Where the others ask it.
    pub listen: Option<SocketAddr>,
    /// Its URL, as the others reach it.
    pub url: Option<Url>,
    /// A file of the secret that all of them know.
    pub secret: Option<PathBuf>,
}

/// A flag without another one that it needs.
pub(super) struct Incomplete {
    pub(super) flag: &'static str,
    pub(super) name: String,
    pub(super) problem: &'static str,
    pub(super) missing: &'static str,
}

impl PeerOverlay {
    /// Writes what is said here over what a file says.
    pub(super) fn over(&self, config: &mut Option<PeerConfig>) -> Result<(), Incomplete> {
        let before = config.take();
        let listen = self.listen.or(before.as_ref().map(|before| before.listen));
        let secret = self.secret.clone().or(before.as_ref().map(|before| before.secret.clone()));
        let url = self.url.clone().or(before.and_then(|before| before.url));
        let incomplete = |flag, name, problem, missing| Err(Incomplete { flag, name, problem, missing });
        match (listen, secret, url) {
            (Some(listen), Some(secret), url) => {
                *config = Some(PeerConfig { listen, url, secret });
                Ok(())
            }
            (Some(listen), None, _) => {
                let problem = "and there is no secret that the caches know";
                incomplete("--peer-listen", listen.to_string(), problem, "--peer-secret FILE")
            }
            (None, Some(file), _) => {
                let problem = "and other caches cannot ask this one";
                incomplete("--peer-secret", file.display().to_string(), problem, "--peer-listen ADDR")
            }
            (None, None, Some(url)) => {
                let problem = "and other caches cannot ask this one";
                incomplete("--peer-url", url.to_string(), problem, "--peer-listen ADDR")
            }
            (None, None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::overlay::Overlay;
    use super::super::read::parse;
    use super::*;

    #[test]
    fn a_file_and_flags_over_it() {
        let read = |own: &str| {
            let text = format!("apiVersion: talmirror/v1\nkind: Cache\n{own}\n");
            parse(&text, "f", Path::new("/etc"))
        };
        let file = "bucket: {url: 's3://images'}\npeers: {listen: ':5001', secret: secret}";
        let config = read(file).config.unwrap();
        let peers = config.peers.clone().unwrap();
        assert_eq!((peers.listen.port(), peers.url, peers.secret), (5001, None, "/etc/secret".into()));
        let url: Url = "http://10.0.0.1:5001".parse().unwrap();
        let flags = PeerOverlay { url: Some(url.clone()), ..PeerOverlay::default() };
        let over = Overlay { peers: flags, ..Overlay::default() }.over(Some(config)).unwrap();
        assert_eq!(over.peers.unwrap().url, Some(url));
        for (bad, want) in [
            ("bucket: {url: 's3://images'}\npeers: {secret: s}", "listen"),
            ("bucket: {url: 's3://images'}\npeers: {listen: ':1'}", "secret"),
            ("bucket: {url: 's3://images'}\npeers: {listen: ':1', secret: s, url: 'ftp://h'}", "http://"),
            (
                "bucket: {url: 's3://images'}\npeers: {listen: ':1', secret: s, url: 'http://h/x'}",
                "remove the path",
            ),
        ] {
            let found: Vec<String> = read(bad).problems.iter().map(ToString::to_string).collect();
            assert!(found.iter().any(|found| found.contains(want)), "{bad}: {found:?}");
        }
        let listen = Some("127.0.0.1:1".parse().unwrap());
        for (flags, want) in [
            (PeerOverlay { listen, ..PeerOverlay::default() }, "--peer-secret FILE"),
            (PeerOverlay { secret: Some("s".into()), ..PeerOverlay::default() }, "--peer-listen ADDR"),
            (PeerOverlay { listen, secret: Some("s".into()), url: None }, "--bucket s3://NAME/PREFIX"),
        ] {
            let error = Overlay { peers: flags, ..Overlay::default() }.over(None).unwrap_err();
            assert!(error.help.contains(want), "{error}: {}", error.help);
        }
    }
}
