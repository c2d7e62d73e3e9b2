use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;

use super::config::Context;

/// What a client's certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The roles that it gives, such as `os:admin`.
    pub roles: Vec<String>,
    /// When it ends.
    pub expires: Timestamp,
    /// Who signed it.
    pub issuer: Issuer,
}

/// Who signed a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// The authority that the context trusts.
    Own,
    /// Another: it is for another cluster, unless the cluster accepts that authority as well (`acceptedCAs`).
    Other,
}

/// Why a client's certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is none.
    #[error("it has no client certificate")]
    NoCertificate,
    /// There is no key to it.
    #[error("it has a client certificate without its key")]
    NoKey,
    /// Nothing says which server can be trusted.
    #[error("it has no `ca`")]
    NoAuthority,
    /// A text is not a valid certificate or key.
    #[error("`{0}` cannot be read")]
    Unreadable(&'static str),
    /// The key belongs to another certificate.
    #[error("`key` is not the key of `crt`")]
    OtherKey,
    /// It is no longer valid.
    #[error("its client certificate expired on {}", date(*on))]
    Expired {
        /// When it ended.
        on: Timestamp,
    },
    /// It is not valid yet.
    #[error("its client certificate is valid only from {}", date(*from))]
    NotYetValid {
        /// When it begins.
        from: Timestamp,
    },
    /// Every certificate of the authority has expired.
    #[error("its `ca` expired on {}", date(*on))]
    AuthorityExpired {
        /// When the last one ended.
        on: Timestamp,
    },
}

impl CertificateError {
    /// Returns what to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NoCertificate | Self::NoKey | Self::NoAuthority => {
                "is it the whole talosconfig? A context needs ca, crt and key"
            }
            Self::Unreadable(_) | Self::OtherKey => {
                "was it put together by hand? `talosctl gen config` writes it whole"
            }
            Self::Expired { .. } => {
                "make another with `talosctl config new` on a machine that still has access, or from the cluster's \
                 secrets with `talosctl gen config --with-secrets`"
            }
            Self::NotYetValid { .. } => "is this machine's clock right?",
            Self::AuthorityExpired { .. } => {
                "was the authority replaced? Get the cluster's present talosconfig"
            }
        }
    }
}

fn date(time: Timestamp) -> impl std::fmt::Display {
    time.strftime("%Y-%m-%d %H:%M UTC")
}

/// Checks a context's certificates before anything is dialled: a node tells nothing but "bad certificate".
///
/// Returns [`None`] where the context admits by user and password instead.
pub fn check(context: &Context, now: Timestamp) -> Result<Option<Certificate>, CertificateError> {
    let authorities = read_all("ca", context.ca.as_deref().ok_or(CertificateError::NoAuthority)?)?;
    let authorities: Vec<X509Certificate<'_>> =
        authorities.iter().map(|pem| parse("ca", pem)).collect::<Result<_, _>>()?;
    let last = authorities.iter().map(|ca| ca.validity().not_after.timestamp()).max().unwrap_or_default();
    if last < now.as_second() {
        return Err(CertificateError::AuthorityExpired { on: timestamp(last) });
    }
    let Some(crt) = &context.crt else {
        return match context.basic {
            Some(_) => Ok(None),
            None => Err(CertificateError::NoCertificate),
        };
    };
    if context.key.is_none() {
        return Err(CertificateError::NoKey);
    }
    let chain = read_all("crt", crt)?;
    let certificate = parse("crt", chain.first().ok_or(CertificateError::NoCertificate)?)?;
    let (from, to) =
        (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    if now.as_second() < from {
        return Err(CertificateError::NotYetValid { from: timestamp(from) });
    }
    if to < now.as_second() {
        return Err(CertificateError::Expired { on: timestamp(to) });
    }
    let signed_by = |ca: &X509Certificate<'_>| {
        ca.subject() == certificate.issuer() && certificate.verify_signature(Some(ca.public_key())).is_ok()
    };
    let roles = certificate.subject().iter_organization();
    Ok(Some(Certificate {
        roles: roles.filter_map(|role| Some(role.as_str().ok()?.to_owned())).collect(),
        expires: timestamp(to),
        issuer: if authorities.iter().any(signed_by) { Issuer::Own } else { Issuer::Other },
    }))
}

/// Returns the public keys of a context's authorities as base64, in order: what stays the same of an authority whose
/// certificate is renewed. One that cannot be read has none.
pub fn authority_keys(context: &Context) -> Vec<String> {
    let blocks = read_all("ca", context.ca.as_deref().unwrap_or_default()).unwrap_or_default();
    let key = |pem: &Pem| parse("ca", pem).ok().map(|ca| STANDARD.encode(ca.public_key().raw));
    blocks.iter().filter_map(key).collect()
}

/// Returns the certificates of a text, at least one.
pub(super) fn read_all(field: &'static str, text: &str) -> Result<Vec<Pem>, CertificateError> {
    let blocks: Result<Vec<Pem>, _> = Pem::iter_from_buffer(text.as_bytes()).collect();
    let blocks = blocks.map_err(|_| CertificateError::Unreadable(field))?;
    if blocks.is_empty() || blocks.iter().any(|block| block.label != "CERTIFICATE") {
        return Err(CertificateError::Unreadable(field));
    }
    Ok(blocks)
}

fn parse<'a>(field: &'static str, pem: &'a Pem) -> Result<X509Certificate<'a>, CertificateError> {
    pem.parse_x509().map_err(|_| CertificateError::Unreadable(field))
}

fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::authority::Authority;
    use super::*;

    const NOW: u32 = 1_800_000_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW.into()).unwrap()
    }

    fn context(authority: &Authority, from: i32, to: i32) -> Context {
        let at = |offset| NOW.checked_add_signed(offset).unwrap().into();
        let pair = authority.client("os:admin", at(from), at(to));
        let (crt, key) = (Some(pair.crt), Some(pair.key.as_str().into()));
        Context { ca: Some(authority.pem.clone()), crt, key, ..Context::default() }
    }

    #[test]
    fn a_good_one_tells_its_roles_and_end() {
        let authority = Authority::new();
        let certificate = check(&context(&authority, -10, 10), now()).unwrap().unwrap();
        assert_eq!(certificate.roles, ["os:admin"]);
        assert_eq!((certificate.expires.as_second(), certificate.issuer), (i64::from(NOW) + 10, Issuer::Own));
    }

    #[test]
    fn an_authority_is_known_by_its_key() {
        let (old, new) = (Authority::new(), Authority::new());
        let keys = |pem: String| authority_keys(&Context { ca: Some(pem), ..Context::default() });
        let both = keys(format!("# a comment\n{}\n{}", old.pem, new.pem));
        assert_eq!(both, [keys(old.pem.clone()), keys(new.pem.clone())].concat());
        assert!(both.len() == 2 && both[0] != both[1] && keys("nothing".to_owned()).is_empty());
    }

    #[test]
    fn several_authorities_while_one_replaces_the_other() {
        let (old, new) = (Authority::new(), Authority::new());
        let mut context = context(&new, -10, 10);
        context.ca = Some(format!("{}\n{}", old.pem, new.pem));
        assert_eq!(check(&context, now()).unwrap().unwrap().issuer, Issuer::Own);
        // Both call themselves the same: only the signature tells them apart.
        context.ca = Some(old.pem.clone());
        assert_eq!(check(&context, now()).unwrap().unwrap().issuer, Issuer::Other);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let authority = Authority::new();
        let whole = context(&authority, -10, 10);
        let error = |context: &Context| check(context, now()).unwrap_err();
        let text = |context: &Context| error(context).to_string();
        assert_eq!(
            text(&context(&authority, -10, -5)),
            "its client certificate expired on 2027-01-15 07:59 UTC"
        );
        assert_eq!(
            text(&context(&authority, 60, 100)),
            "its client certificate is valid only from 2027-01-15 08:01 UTC"
        );
        assert_eq!(error(&Context { crt: None, ..whole.clone() }), CertificateError::NoCertificate);
        assert_eq!(error(&Context { key: None, ..whole.clone() }), CertificateError::NoKey);
        assert_eq!(error(&Context { ca: None, ..whole.clone() }), CertificateError::NoAuthority);
        let broken = Context { ca: whole.crt.clone().map(|pem| pem.replace("CERT", "X")), ..whole.clone() };
        assert_eq!(error(&broken), CertificateError::Unreadable("ca"));
        assert!(matches!(check(&whole, Timestamp::MAX), Err(CertificateError::AuthorityExpired { .. })));
    }

    #[test]
    fn a_password_stands_in_for_a_certificate() {
        let basic = super::super::config::Basic { username: "u".to_owned(), password: "p".into() };
        let context = Context { ca: Some(Authority::new().pem), basic: Some(basic), ..Context::default() };
        assert_eq!(check(&context, now()), Ok(None));
    }
}
