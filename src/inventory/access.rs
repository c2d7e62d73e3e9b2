use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::fields::{CLIENT_IDENTITY, CREDENTIALS, REFERENCE, TLS};
use super::model::{Credentials, Set, Text, Tls};
use crate::finding::Code;
use crate::finding::{Decoder, Fields};
use crate::secret::{Secret, SecretRef, is_redacted};
use crate::yaml::Node;

/// Returns what makes an `auth` that stands in the file unusable.
fn raw_flaw(auth: &SecretRef) -> Option<&'static str> {
    let SecretRef::Inline(text) = auth else { return None };
    auth_flaw(text)
}

/// Returns what makes an `auth` unusable: it is base64 of `user:password`, line breaks aside.
pub(super) fn auth_flaw(text: &Secret<String>) -> Option<&'static str> {
    // A reference that nothing fills in is told as that.
    if text.expose().starts_with("ENC[") || is_redacted(text.expose()) || text.expose().contains("${") {
        return None;
    }
    let packed: String = text.expose().chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    let Ok(bytes) = STANDARD.decode(packed.trim()).map(Zeroizing::new) else {
        return Some("`auth` is not base64");
    };
    if !bytes.contains(&b':') {
        return Some("`auth` is base64 of a text without a colon, and `user:password` is wanted");
    }
    if bytes.starts_with(b":") || bytes.iter().position(|byte| *byte == b':') == Some(bytes.len() - 1) {
        return Some("`auth` is base64 of `user:password` of which one is empty");
    }
    bytes
        .ends_with(b"\n")
        .then_some("`auth` is base64 of a text that ends in a line break, which becomes part of the password")
}

/// Tells whether a text is, as a whole, what an engine of templates fills in.
fn is_placeholder(text: &str) -> bool {
    let marks = [("{{", "}}"), ("<%", "%>"), ("<path:", ">"), ("#{", "}#")];
    let is_name = |mark: &str| {
        let name = text.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark)).unwrap_or_default();
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    marks.iter().any(|(open, close)| text.starts_with(open) && text.ends_with(close))
        || ["%%", "@@"].into_iter().any(is_name)
}

/// What opens a host: credentials, secrets and where they come from, TLS.
impl Decoder<'_, '_> {
    pub(super) fn credentials(&mut self, fields: &Fields<'_>, key: &str) -> Set<Credentials> {
        let path = fields.at(key);
        self.set(fields, key, |decoder, node| {
            let fields = decoder.fields(node, &path, CREDENTIALS);
            let username = decoder.secret(&fields, "username", "usernameFrom");
            let password = decoder.secret(&fields, "password", "passwordFrom");
            let auth = decoder.secret(&fields, "auth", "authFrom");
            let token = decoder.secret(&fields, "identityToken", "identityTokenFrom");
            let wrong = |decoder: &mut Self, message: &str| {
                decoder.problems.add(Code::AuthForms, &fields.span, path.clone(), message).reason = Some(
                    "Talos takes username and password, or auth, or identityToken: one of them, whole"
                        .to_owned(),
                );
                None
            };
            let given = |keys: &[&str]| keys.iter().any(|key| fields.get(key).is_some());
            let read = [username.is_some(), password.is_some(), auth.is_some(), token.is_some()];
            let there = [
                given(&["username", "usernameFrom"]),
                given(&["password", "passwordFrom"]),
                given(&["auth", "authFrom"]),
                given(&["identityToken", "identityTokenFrom"]),
            ];
            if read != there {
                return None; // what cannot be read has been told
            }
            let empty =
                |secret: &SecretRef| matches!(secret, SecretRef::Inline(text) if text.expose().is_empty());
            match (username, password, auth, token) {
                (Some(username), Some(password), None, None) if empty(&username) || empty(&password) => {
                    wrong(decoder, "the username or the password is empty")
                }
                (Some(username), Some(password), None, None) => {
                    Some(Credentials::Pair { username, password })
                }
                (None, None, Some(auth), None) => match raw_flaw(&auth) {
                    Some(flaw) => wrong(decoder, flaw),
                    None => Some(Credentials::Raw(auth)),
                },
                (None, None, None, Some(token)) => Some(Credentials::IdentityToken(token)),
                (Some(_), None, None, None) => wrong(decoder, "there is a username without a password"),
                (None, Some(_), None, None) => wrong(decoder, "there is a password without a username"),
                (None, None, None, None) => wrong(decoder, "there are no credentials in it"),
                _ => wrong(decoder, "there is more than one form of credentials"),
            }
        })
    }

    /// Reads a secret that stands under one key or is fetched by what stands under the other.
    fn secret(&mut self, fields: &Fields<'_>, key: &str, from: &str) -> Option<SecretRef> {
        let inline = self.string(fields, key);
        if let (Some(text), Some(node)) = (&inline, fields.get(key)) {
            self.check_variable(text, node, &fields.at(key), from);
        }
        let Some(node) = fields.get(from) else {
            return inline.map(|text| SecretRef::Inline(Secret::new(text)));
        };
        let path = fields.at(from);
        if fields.get(key).is_some() {
            let message = format!("`{key}` and `{from}` are both there");
            self.problems.add(Code::TwoSources, &node.span, path.clone(), message).help =
                Some("keep one".to_owned());
        }
        let reference = self.fields(node, &path, REFERENCE);
        let named: Vec<&str> = REFERENCE.iter().copied().filter(|key| reference.get(key).is_some()).collect();
        match named.as_slice() {
            ["env"] => self.string(&reference, "env").map(SecretRef::Env),
            ["file"] => self.string(&reference, "file").map(|path| SecretRef::File(path.into())),
            ["stdin"] => self.boolean(&reference, "stdin").filter(|on| *on).map(|_| SecretRef::Stdin),
            ["command"] => {
                let argv = self.strings(&reference, "command")?;
                Some(SecretRef::Command(argv.into_iter().map(|(word, _)| word).collect()))
            }
            _ => {
                let message = format!("`{path}` names one place");
                self.problems.add(Code::MissingField, &node.span, path, message).help = Some(
                    "write {env: NAME}, {file: PATH}, {command: [PROGRAM, ARGUMENT]} or {stdin: true}"
                        .to_owned(),
                );
                None
            }
        }
    }

    /// Finds a variable or a reference of another tool where the secret itself should stand.
    fn check_variable(&mut self, text: &str, node: &Node, path: &str, from: &str) {
        let name = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
        let name = name.or_else(|| text.strip_prefix('$'));
        let is_name = |name: &&str| {
            let word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_') && name.chars().all(word)
        };
        let help = match name.filter(is_name) {
            Some(name) => format!("write {from}: {{env: {name}}}"),
            None if text.starts_with("op://") => format!("write {from}: {{command: [op, read, 'op://…']}}"),
            None if text.starts_with("ref+") && text.contains("://") => {
                format!("write {from}: {{command: [vals, get, 'ref+…']}}")
            }
            None if is_placeholder(text) => {
                format!("render the file first, or write {from} with the place of the secret")
            }
            None => return,
        };
        let message =
            format!("`{path}` is a reference that nothing fills in: nodes would get it as it stands");
        self.problems.add(Code::Reference, &node.span, path, message).help = Some(help);
    }

    pub(super) fn tls(&mut self, fields: &Fields<'_>, key: &str) -> Set<Tls> {
        let path = fields.at(key);
        self.set(fields, key, |decoder, node| {
            let fields = decoder.fields(node, &path, TLS);
            let tls = Tls {
                ca: decoder.inline_or_file(&fields, "ca", "caFile"),
                client_identity: fields
                    .get("clientIdentity")
                    .and_then(|node| decoder.client_identity(node, &fields)),
                insecure_skip_verify: decoder.boolean(&fields, "insecureSkipVerify").unwrap_or(false),
            };
            if tls == Tls::default() && node.entries().iter().all(|entry| entry.key == "insecureSkipVerify") {
                decoder
                    .problems
                    .add(Code::EmptyTls, &fields.span, path.clone(), format!("`{path}` sets nothing"))
                    .help = Some("leave it out".to_owned());
            }
            Some(tls)
        })
    }

    fn client_identity(&mut self, node: &Node, tls: &Fields<'_>) -> Option<(Text, SecretRef)> {
        let fields = self.fields(node, &tls.at("clientIdentity"), CLIENT_IDENTITY);
        let cert = self.inline_or_file(&fields, "cert", "certFile");
        let key = self.secret(&fields, "key", "keyFrom");
        if cert.is_none() || key.is_none() {
            let message = format!("`{}` needs both a certificate and a key", fields.path);
            self.problems.add(Code::ClientIdentity, &fields.span, fields.path.clone(), message).help =
                Some("cert or certFile, and key or keyFrom".to_owned());
        }
        Some((cert?, key?))
    }

    fn inline_or_file(&mut self, fields: &Fields<'_>, key: &str, file: &str) -> Option<Text> {
        let inline = self.string(fields, key);
        let Some(entry) = fields.entry(file).filter(|entry| !entry.value.is_null()) else {
            return inline.map(Text::Inline);
        };
        if inline.is_some() {
            let message = format!("`{key}` and `{file}` are both there");
            self.problems.add(Code::TwoSources, &entry.key_span, fields.at(file), message).help =
                Some("keep one".to_owned());
        }
        self.string(fields, file).map(|path| Text::File(path.into()))
    }
}

#[cfg(test)]
mod tests {
    use crate::inventory::parse;

    fn found(credentials: &str) -> Vec<String> {
        let text = format!(
            "mirror: https://h.example\nkind: harbor\nregistries: [ghcr.io]\ncredentials: {credentials}\n"
        );
        let problems = parse(&text, "mirrors.yaml", &|_| None).problems;
        problems.into_iter().map(|p| format!("{} {}", p.code.as_str(), p.help.unwrap_or_default())).collect()
    }

    #[test]
    fn what_another_tool_would_fill_in_is_told() {
        for value in ["{{ .Values.x }}", "<%= x %>", "<path:secret/x#y>", "#{ x }#", "%%PASS%%", "@@PASS@@"] {
            let problems = found(&format!("{{username: u, password: '{value}'}}"));
            let wanted = "W226 render the file first, or write passwordFrom with the place of the secret";
            assert_eq!(problems, [wanted], "{value}");
        }
        let problems = found("{username: u, password: 'ref+sops://f.yaml#/p'}");
        assert_eq!(problems, ["W226 write passwordFrom: {command: [vals, get, 'ref+…']}"]);
        for value in ["a{{b}}", "%%a%%", "<x>", "100%%"] {
            assert_eq!(found(&format!("{{username: u, password: '{value}'}}")), [""; 0], "{value}");
        }
    }

    #[test]
    fn half_of_an_auth_is_none() {
        // `u:`, `:p`, `:`, and a variable, which is told as that alone.
        for value in ["dTo=", "OnA=", "Og=="] {
            assert!(found(&format!("{{auth: '{value}'}}"))[0].starts_with("E109"), "{value}");
        }
        assert_eq!(found("{auth: '${AUTH}'}"), ["W226 write authFrom: {env: AUTH}"]);
        assert_eq!(found("{auth: 'dTpw'}"), [""; 0]);
    }
}
