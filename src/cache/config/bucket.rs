use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::size::ByteSize;
use crate::ui::duration;

/// A bucket of an S3-compatible store that several caches share, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketConfig {
    /// Its name, and where in it the keys begin.
    pub address: BucketAddress,
    /// Where its store is asked; [`None`] is AWS.
    pub endpoint: Option<Url>,
    /// Whether the bucket's name stands in the path of a request, and not in its host.
    pub path_style: bool,
    /// The region; [`None`] is as the environment says.
    pub region: Option<String>,
    /// A file of authorities that are trusted besides the system's, PEM.
    pub ca: Option<PathBuf>,
    /// Whether the metadata service of the machine is asked for credentials where nothing else gives some.
    pub instance_metadata: bool,
    /// How the store is told to encrypt what is written.
    pub encryption: Option<Encryption>,
    /// How long an image stays in it that no cache writes or serves any more; [`None`]: as long as a tag stands for it.
    pub max_age: Option<Duration>,
    /// The most that blobs and manifests in it may take up: what was out of use longest goes first.
    pub max_size: Option<ByteSize>,
    /// Where its store is for clients that are sent there; [`None`] is where it is for the cache.
    pub redirect_endpoint: Option<Url>,
    /// For how long what such clients are told holds; [`None`] is ten minutes.
    pub redirect_expiry: Option<Duration>,
}

/// For how long what clients are told holds that are sent to the bucket, where nothing else is said.
const REDIRECT_EXPIRY: Duration = Duration::from_mins(10);

/// The shortest age by which an image may go: what is younger stays in any case.
const LEAST_AGE: Duration = Duration::from_hours(24);

/// The name of a bucket, and the beginning of the keys in it: `s3://NAME/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketAddress {
    name: String,
    /// Without `/` at its ends; empty where the keys begin with nothing.
    prefix: String,
}

/// Encryption at rest, as the store does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of the store: `AES256`.
    Store,
    /// With a key of AWS KMS, the bucket's own or a named one: `aws:kms` or `aws:kms:KEY`.
    Kms(Option<String>),
}

/// What flags and variables say about the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketOverlay {
    /// The bucket.
    pub address: Option<BucketAddress>,
    /// Where its store is asked.
    pub endpoint: Option<Url>,
    /// The bucket's name stands in the path.
    pub path_style: bool,
    /// The region.
    pub region: Option<String>,
    /// A file of authorities.
    pub ca: Option<PathBuf>,
    /// The metadata service of the machine may be asked for credentials.
    pub instance_metadata: bool,
    /// How the store is told to encrypt.
    pub encryption: Option<Encryption>,
    /// How long an image stays that is out of use.
    pub max_age: Option<Duration>,
    /// The most that it may hold.
    pub max_size: Option<ByteSize>,
    /// Where its store is for clients that are sent there.
    pub redirect_endpoint: Option<Url>,
    /// For how long what such clients are told holds.
    pub redirect_expiry: Option<Duration>,
}

impl BucketConfig {
    /// Returns a bucket of AWS, reached as the environment says.
    pub const fn new(address: BucketAddress) -> Self {
        Self {
            address,
            endpoint: None,
            path_style: false,
            region: None,
            ca: None,
            instance_metadata: false,
            encryption: None,
            max_age: None,
            max_size: None,
            redirect_endpoint: None,
            redirect_expiry: None,
        }
    }

    /// Returns for how long what clients are told holds that are sent there.
    pub fn redirect_expiry(&self) -> Duration {
        self.redirect_expiry.unwrap_or(REDIRECT_EXPIRY)
    }

    /// Returns where clients are sent by plain http, if they are, as far as no variable says where the store is.
    pub fn plain_redirect(&self) -> Option<&Url> {
        self.redirect_endpoint.as_ref().or(self.endpoint.as_ref()).filter(|url| url.scheme() == "http")
    }
}

impl BucketAddress {
    /// Returns the bucket's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the beginning of every key, with a `/` at its end where it is not empty.
    pub fn prefix(&self) -> String {
        if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) }
    }
}

impl fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.name)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl FromStr for BucketAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("s3://")
            .ok_or_else(|| format!("`{text}` is not a valid bucket: it is written s3://NAME/PREFIX"))?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // Older buckets of AWS have capital letters and underscores.
        let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if !(3..=255).contains(&name.len()) || !name.chars().all(is_name) {
            return Err(format!(
                "`{name}` is not a valid name of a bucket: 3 to 255 letters, digits, dots, hyphens and underscores"
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        let is_part = |part: &str| {
            let is_key = |c: char| c.is_ascii_alphanumeric() || ".-_=".contains(c);
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_key)
        };
        if prefix.len() > 256 || (!prefix.is_empty() && !prefix.split('/').all(is_part)) {
            return Err(format!(
                "`{prefix}` is not a valid prefix: letters, digits and .-_= between slashes"
            ));
        }
        Ok(Self { name: name.to_owned(), prefix: prefix.to_owned() })
    }
}

impl FromStr for Encryption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("aws:kms:")) {
            ("AES256", _) => Ok(Self::Store),
            ("aws:kms", _) => Ok(Self::Kms(None)),
            (_, Some(key)) if !key.is_empty() => Ok(Self::Kms(Some(key.to_owned()))),
            _ => Err(format!("`{text}` is not a valid encryption: AES256, aws:kms or aws:kms:KEY")),
        }
    }
}

impl BucketOverlay {
    /// Writes what is said here over what a file says; fails with the first flag that is of no use, and what it says.
    pub(super) fn over(&self, config: &mut Option<BucketConfig>) -> Result<(), (&'static str, String)> {
        if let Some(address) = &self.address {
            match config {
                Some(bucket) => bucket.address = address.clone(),
                None => *config = Some(BucketConfig::new(address.clone())),
            }
        }
        let Some(bucket) = config else { return self.first().map_or(Ok(()), Err) };
        bucket.endpoint = self.endpoint.clone().or(bucket.endpoint.take());
        bucket.path_style |= self.path_style;
        bucket.region = self.region.clone().or(bucket.region.take());
        bucket.ca = self.ca.clone().or(bucket.ca.take());
        bucket.instance_metadata |= self.instance_metadata;
        bucket.encryption = self.encryption.clone().or(bucket.encryption.take());
        bucket.max_age = self.max_age.or(bucket.max_age);
        bucket.max_size = self.max_size.or(bucket.max_size);
        bucket.redirect_endpoint = self.redirect_endpoint.clone().or(bucket.redirect_endpoint.take());
        bucket.redirect_expiry = self.redirect_expiry.or(bucket.redirect_expiry);
        Ok(())
    }

    /// Returns the first flag that is of no use without a bucket.
    fn first(&self) -> Option<(&'static str, String)> {
        let flags = [
            ("--s3-endpoint", self.endpoint.as_ref().map(Url::to_string)),
            ("--s3-path-style", self.path_style.then(|| "true".to_owned())),
            ("--s3-region", self.region.clone()),
            ("--s3-ca", self.ca.as_ref().map(|file| file.display().to_string())),
            ("--s3-instance-metadata", self.instance_metadata.then(|| "true".to_owned())),
            ("--s3-encryption", self.encryption.as_ref().map(|_| "an encryption".to_owned())),
            ("--bucket-max-age", self.max_age.map(|age| format!("{age:?}"))),
            ("--bucket-max-size", self.max_size.map(|size| size.to_string())),
            ("--redirect-endpoint", self.redirect_endpoint.as_ref().map(Url::to_string)),
            ("--redirect-expiry", self.redirect_expiry.map(|expiry| format!("{expiry:?}"))),
        ];
        flags.into_iter().find_map(|(flag, value)| Some((flag, value?)))
    }
}

/// Reads how long an image stays in a bucket that is out of use.
pub fn bucket_age(text: &str) -> Result<Duration, String> {
    let age = duration(text)?;
    if age < LEAST_AGE {
        return Err(format!("`{text}` is not a valid age of images in a bucket: 24h or more"));
    }
    Ok(age)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::overlay::Overlay;
    use super::super::read::parse;
    use super::*;

    #[test]
    fn addresses() {
        for (text, name, prefix) in [
            ("s3://images", "images", ""),
            ("s3://images/", "images", ""),
            ("s3://images/a/b/", "images", "a/b/"),
            ("s3://Old_bucket.1/talmirror=1", "Old_bucket.1", "talmirror=1/"),
        ] {
            let address: BucketAddress = text.parse().unwrap();
            assert_eq!((address.name(), address.prefix().as_str()), (name, prefix));
            assert_eq!(address.to_string(), text.trim_end_matches('/'));
        }
        for bad in
            ["", "images", "http://images", "s3://", "s3://ab", "s3://a b c", "s3://abc/a//b", "s3://abc/.."]
        {
            assert!(bad.parse::<BucketAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_and_flags_over_it() {
        let read = |own: &str| {
            parse(&format!("apiVersion: talmirror/v1\nkind: Cache\nbucket: {own}\n"), "f", Path::new("/etc"))
        };
        let file = "{url: 's3://images/a', endpoint: 'https://s3.example', ca: ca.pem, encryption: 'aws:kms:k', \
             maxAge: 720h, maxSize: 1TiB}";
        let config = read(file).config.unwrap();
        let bucket = config.bucket.clone().unwrap();
        assert_eq!(bucket.ca.as_deref(), Some(Path::new("/etc/ca.pem")));
        assert_eq!(bucket.encryption, Some(Encryption::Kms(Some("k".to_owned()))));
        assert!(!bucket.path_style);
        let limits = (bucket.max_age, bucket.max_size);
        assert_eq!(limits, (Some(Duration::from_hours(720)), Some(ByteSize(1 << 40))));
        let flags = BucketOverlay {
            address: Some("s3://other".parse().unwrap()),
            path_style: true,
            max_age: Some(Duration::from_hours(48)),
            ..BucketOverlay::default()
        };
        let over = Overlay { bucket: flags, ..Overlay::default() }.over(Some(config)).unwrap();
        let bucket = over.bucket.unwrap();
        assert_eq!((bucket.address.to_string().as_str(), bucket.path_style), ("s3://other", true));
        let limits = (bucket.max_age, bucket.max_size);
        assert_eq!(limits, (Some(Duration::from_hours(48)), Some(ByteSize(1 << 40))));
        assert_eq!(bucket.endpoint.unwrap().as_str(), "https://s3.example/");
        for (bad, want) in [
            ("{}", "url"),
            ("{url: images}", "s3://NAME/PREFIX"),
            ("{url: 's3://images', endpoint: 'https://u:p@h'}", "holds no credentials"),
            ("{url: 's3://images', encryption: rot13}", "is not a valid encryption"),
            ("{url: 's3://images', secretKey: x}", "secretKey"),
            ("{url: 's3://images', maxAge: 1h}", "24h or more"),
            ("{url: 's3://images', maxSize: 1 Gig}", "is not a valid size"),
        ] {
            let found: Vec<String> = read(bad).problems.iter().map(ToString::to_string).collect();
            assert!(found.iter().any(|found| found.contains(want)), "{bad}: {found:?}");
        }
        let alone = BucketOverlay { path_style: true, ..BucketOverlay::default() };
        let error = Overlay { bucket: alone, ..Overlay::default() }.over(None).unwrap_err();
        assert_eq!(error.to_string(), "--s3-path-style names `true`, and there is no bucket");
    }
}
