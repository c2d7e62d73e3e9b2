use std::sync::{Arc, Mutex};

use crate::cache::config::{Authenticate, Config};
use crate::cache::memory::{BoundedMap, locked};
use crate::cache::store::{Object, Origin, Store};
use crate::image::RegistryHost;
use crate::oci::{Challenge, Refusal};

/// Who may read what is stored: facts about one configuration.
///
/// Content is stored once, whichever repository it came from, so that having it does not allow handing it out. A client
/// gets it through a repository only where that repository was seen to have it, and content of a registry that takes
/// credentials goes to users of this server only, unless the configuration says otherwise.
#[derive(Clone, Debug)]
pub(super) struct Audience {
    users: bool,
    everyone: bool,
}

impl Audience {
    /// Takes from a configuration whether there are users, and who has to be one.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            users: config.htpasswd.is_some(),
            everyone: config.htpasswd.is_some() && config.authenticate == Authenticate::All,
        }
    }

    /// Returns whether a client may ask whether a registry is here at all. Where there are users, a client that says
    /// nothing is asked who it is: Docker's and podman's send credentials only after that answer to `/v2/`.
    pub(super) fn may_ping(&self, is_user: bool) -> Result<(), Refusal> {
        if self.users && !is_user { Err(challenge()) } else { Ok(()) }
    }

    /// Returns whether a client may read from a registry.
    pub(super) fn may_read(
        &self,
        registry: &RegistryHost,
        private: bool,
        is_user: bool,
    ) -> Result<(), Refusal> {
        match (private, is_user) {
            (_, true) => Ok(()),
            (false, false) if self.everyone => Err(challenge()),
            (false, false) => Ok(()),
            (true, false) if self.users => Err(challenge()),
            (true, false) => Err(Refusal::Policy(format!(
                "content of {registry} takes credentials and there are no users here: htpasswd, or anonymous: true"
            ))),
        }
    }
}

fn challenge() -> Refusal {
    Refusal::Unauthorized(Challenge::Basic { realm: "talmirror-cache".to_owned() })
}

/// Returns whether something stored may be believed to be in a repository whose manifest lists it, when upstream
/// cannot be asked.
///
/// Anyone who may write to a repository can list any digest in a manifest there, private content's too. So it takes
/// content that came from the same registry, from a repository that is served, or a repository that anyone may read and
/// content that came from one such.
pub(super) fn listed_suffices<'a>(
    asked: &Origin,
    is_private: impl Fn(&RegistryHost) -> bool,
    is_served: impl Fn(&Origin) -> bool,
    origins: impl IntoIterator<Item = &'a Origin>,
) -> bool {
    let public = !is_private(&asked.registry);
    origins.into_iter().any(|origin| {
        origin.registry == asked.registry && is_served(origin) || public && !is_private(&origin.registry)
    })
}

/// Returns whether a registry's word is enough that it has something stored, or whether it must give the bytes.
///
/// A registry could say that it has what came from a private one, in order to get it out of here. Its word counts for
/// what came from it, and for what came from a registry that anyone may read.
pub(super) fn head_suffices<'a>(
    asked: &Origin,
    is_private: impl Fn(&RegistryHost) -> bool,
    origins: impl IntoIterator<Item = &'a Origin>,
) -> bool {
    origins.into_iter().any(|origin| origin.registry == asked.registry || !is_private(&origin.registry))
}

/// How many facts about which repository has what are kept in memory.
const GRANTS: usize = 65_536;

/// Which repository was seen to have what: facts of the store, the recent ones in memory too.
pub(super) struct Grants {
    store: Arc<dyn Store>,
    granted: Mutex<BoundedMap<(Origin, Object), Grant>>,
}

/// For how long it is known that a repository has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// As long as this process runs, at most.
    Noted,
    /// As long as it is stored.
    Kept,
}

impl Grants {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, granted: Mutex::new(BoundedMap::new(GRANTS)) }
    }

    /// Returns whether a repository was seen to have something.
    pub(super) async fn is_granted(&self, origin: &Origin, object: &Object) -> bool {
        self.granted(origin, object).await.is_some()
    }

    /// Returns for how long it is known that a repository has something, if it was seen to.
    pub(super) async fn granted(&self, origin: &Origin, object: &Object) -> Option<Grant> {
        let key = (origin.clone(), *object);
        if let Some(grant) = locked(&self.granted).get(&key) {
            return Some(grant);
        }
        let granted = self.store.granted(origin, object).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read which repository has what");
            false
        });
        if granted {
            locked(&self.granted).put(key, Grant::Kept, 1);
        }
        granted.then_some(Grant::Kept)
    }

    /// Notes for a while that a repository was seen to have something: what only a HEAD has said makes no file.
    pub(super) fn note(&self, origin: &Origin, object: &Object) {
        let (mut granted, key) = (locked(&self.granted), (origin.clone(), *object));
        if granted.get(&key).is_none() {
            granted.put(key, Grant::Noted, 1);
        }
    }

    /// Notes that a repository was seen to have something.
    pub(super) async fn grant(&self, origin: &Origin, object: &Object) {
        self.note(origin, object);
        match self.store.grant(origin, object).await {
            Ok(()) => locked(&self.granted).put((origin.clone(), *object), Grant::Kept, 1),
            Err(error) => tracing::warn!(%error, "cannot note which repository has what"),
        }
    }

    /// Forgets what is in memory only to be quick.
    pub(super) fn forget(&self) {
        locked(&self.granted).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(htpasswd: bool, authenticate: Authenticate) -> Audience {
        let htpasswd = htpasswd.then(|| "users".into());
        Audience::new(&Config { htpasswd, authenticate, ..Config::default() })
    }

    #[test]
    fn who_may_read() {
        let hub: RegistryHost = "docker.io".parse().unwrap();
        for (users, authenticate, private, is_user, want) in [
            (false, Authenticate::Private, false, false, 200),
            (false, Authenticate::Private, true, false, 403),
            (true, Authenticate::Private, false, false, 200),
            (true, Authenticate::Private, true, false, 401),
            (true, Authenticate::Private, true, true, 200),
            (true, Authenticate::All, false, false, 401),
            (true, Authenticate::All, true, false, 401),
            (true, Authenticate::All, false, true, 200),
        ] {
            let verdict = audience(users, authenticate).may_read(&hub, private, is_user);
            let status = verdict.map_or_else(|refusal| refusal.status(), |()| 200);
            assert_eq!(status, want, "{users} {authenticate:?} {private} {is_user}");
        }
        let ping = |users, is_user| audience(users, Authenticate::Private).may_ping(is_user).is_ok();
        assert_eq!((ping(false, false), ping(true, false), ping(true, true)), (true, false, true));
    }

    #[test]
    fn a_list_opens_no_private_content() {
        let origin =
            |registry: &str| Origin { registry: registry.parse().unwrap(), repository: "a".parse().unwrap() };
        let private = |registry: &RegistryHost| registry.as_str() == "private.example";
        let suffices = |asked: &str, from: &[&str]| {
            let origins: Vec<Origin> = from.iter().map(|registry| origin(registry)).collect();
            listed_suffices(&origin(asked), private, |origin| origin.repository.as_str() == "a", &origins)
        };
        assert!(suffices("docker.io", &["ghcr.io"]));
        assert!(suffices("docker.io", &["private.example", "ghcr.io"]));
        assert!(!suffices("docker.io", &["private.example"]));
        assert!(!suffices("docker.io", &[]));
        assert!(!suffices("private.example", &["docker.io"]));
        assert!(suffices("private.example", &["private.example"]), "within one registry");
        let denied = Origin { repository: "b".parse().unwrap(), ..origin("private.example") };
        let is_served = |origin: &Origin| origin.repository.as_str() == "a";
        assert!(!listed_suffices(&origin("private.example"), private, is_served, [&denied]));
    }

    #[test]
    fn a_word_opens_no_private_content() {
        let origin =
            |registry: &str| Origin { registry: registry.parse().unwrap(), repository: "a".parse().unwrap() };
        let private = |registry: &RegistryHost| registry.as_str() == "private.example";
        let suffices = |asked: &str, from: &[&str]| {
            let origins: Vec<Origin> = from.iter().map(|registry| origin(registry)).collect();
            head_suffices(&origin(asked), private, &origins)
        };
        assert!(suffices("docker.io", &["ghcr.io"]));
        assert!(suffices("private.example", &["private.example"]));
        assert!(suffices("private.example", &["docker.io"]));
        assert!(!suffices("docker.io", &["private.example"]));
        assert!(!suffices("docker.io", &[]));
    }
}
