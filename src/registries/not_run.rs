use super::model::Registries;
use crate::secret::{NOT_RUN, Secret};

impl Registries {
    /// Takes what another set has in the place of secrets whose commands were not run, so that they are no difference.
    pub fn fill_not_run(&mut self, other: &Self) {
        let is_not_run = |secret: &Option<Secret<String>>| {
            secret.as_ref().is_some_and(|secret| secret.expose() == NOT_RUN)
        };
        for (host, auth) in &mut self.auth {
            let Some(other) = other.auth.get(host) else { continue };
            if auth.username.as_deref() == Some(NOT_RUN) && is_not_run(&auth.password) {
                *auth = other.clone();
                continue;
            }
            if auth.username.as_deref() == Some(NOT_RUN) {
                auth.username.clone_from(&other.username);
            }
            if is_not_run(&auth.password) {
                auth.password.clone_from(&other.password);
            }
            if is_not_run(&auth.identity_token) {
                auth.identity_token.clone_from(&other.identity_token);
            }
        }
        for (host, tls) in &mut self.tls {
            let other = other.tls.get(host).and_then(|tls| tls.client_identity.as_ref());
            if let (Some(identity), Some(other)) = (&mut tls.client_identity, other)
                && identity.key.expose() == NOT_RUN
            {
                identity.key.clone_from(&other.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registries::Auth;

    #[test]
    fn only_what_was_not_run_is_taken() {
        let of = |user: &str, password: &str| Registries {
            auth: [(
                "h".to_owned(),
                Auth { username: Some(user.to_owned()), password: Some(password.into()), ..Auth::default() },
            )]
            .into(),
            ..Registries::default()
        };
        let mut wanted = of("new", NOT_RUN);
        wanted.fill_not_run(&of("old", "secret"));
        assert_eq!(wanted, of("new", "secret"));
        wanted.fill_not_run(&of("old", "other"));
        assert_eq!(wanted, of("new", "secret"));
    }
}
