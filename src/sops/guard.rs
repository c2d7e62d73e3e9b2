use super::cipher::is_token;
use super::error::{ClearSecret, SopsError};
use super::known_secrets::IsSecret;
use super::rule::Rule;
use super::value::Content;
use super::walk::walk;
use crate::yaml::{Indent, LineIndex, Stream, parse};

/// Checks that an encrypted text leaves no secret in clear text: the last line of defence against a rule with a gap.
///
/// Fails with every value that is neither sealed nor empty and for which `is_secret` holds.
pub fn guard(text: &str, is_secret: IsSecret) -> Result<(), SopsError> {
    guard_parsed(text, &parse(text)?, is_secret)
}

/// Checks a text as [`guard`] does that was parsed before.
pub(super) fn guard_parsed(text: &str, stream: &Stream, is_secret: IsSecret) -> Result<(), SopsError> {
    let walk = walk(text, stream, &Rule::default(), Indent::default());
    let index = LineIndex::new(text);
    let clear = walk.leaves.iter().filter(|leaf| {
        let clear = match Content::of(leaf.node) {
            Ok(Content::Nothing(_)) => false,
            Ok(Content::Value(value)) => !value.is_blank() && !is_token(value.text()),
            Err(_) => true,
        };
        let root = stream.documents.get(leaf.document).map(|document| &document.root);
        clear && root.is_some_and(|root| is_secret(root, &leaf.path))
    });
    let clear: Vec<ClearSecret> = clear
        .map(|leaf| ClearSecret { path: leaf.path.clone(), position: index.position(leaf.node.span.start) })
        .collect();
    if clear.is_empty() { Ok(()) } else { Err(SopsError::ClearSecrets(clear)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sops::is_secret;

    #[test]
    fn names_every_clear_secret() {
        let text = "\
config:
    a:
        auth:
            username: u
            password: hunter2
            identityToken: ''
        tls: {clientIdentity: {crt: c, key: k}}
    b:
        auth: dXNlcg==
        key: fine
";
        let error = guard(text, is_secret).unwrap_err();
        assert_eq!(
            error.to_string(),
            "[\"config\"][\"a\"][\"auth\"][\"password\"] (line 5), \
             [\"config\"][\"a\"][\"tls\"][\"clientIdentity\"][\"key\"] (line 7), \
             [\"config\"][\"b\"][\"auth\"] (line 9) would be left in clear text"
        );
        assert!(!error.to_string().contains("hunter2"));
        assert!(guard("password: ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\n", is_secret).is_ok());
    }
}
