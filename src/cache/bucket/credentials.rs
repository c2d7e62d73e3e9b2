#![expect(clippy::disallowed_methods, reason = "reads the files of credentials")]

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use object_store::client::CredentialProvider;

use super::traffic::Traffic;
use crate::cache::config::BucketConfig;
use crate::secret::Secret;

/// Looks a variable of the environment up.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a profile of the files in `~/.aws` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Profile {
    key: Option<String>,
    secret: Option<Secret<String>>,
    token: Option<Secret<String>>,
    region: Option<String>,
}

/// Credentials of a file, which is read again for each request: tools renew it.
#[derive(Debug)]
struct ProfileFile {
    file: PathBuf,
    name: String,
    traffic: Arc<Traffic>,
}

/// There is no profile of this name with a key and a secret.
#[derive(Debug, thiserror::Error)]
#[error("the profile `{name}` of `{}` gives no credentials", file.display())]
struct NoProfile {
    name: String,
    file: PathBuf,
}

impl Profile {
    /// Reads a section of a file of AWS' command line.
    fn read(text: &str, name: &str) -> Option<Self> {
        let (mut is_in, mut found) = (false, None::<Self>);
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                let section = section.trim();
                // In the file `config` every section but that of the default profile begins with this word.
                is_in = section.strip_prefix("profile").map_or(section, str::trim) == name;
                if is_in {
                    found.get_or_insert_default();
                }
            } else if let (true, Some((key, value)), Some(profile)) =
                (is_in, line.split_once('='), &mut found)
            {
                let value = value.trim().to_owned();
                match key.trim() {
                    "aws_access_key_id" => profile.key = Some(value),
                    "aws_secret_access_key" => profile.secret = Some(Secret::new(value)),
                    "aws_session_token" => profile.token = Some(Secret::new(value)),
                    "region" => profile.region = Some(value),
                    _ => {}
                }
            }
        }
        found
    }

    fn credential(&self) -> Option<AwsCredential> {
        Some(AwsCredential {
            key_id: self.key.clone()?,
            secret_key: self.secret.as_ref()?.expose().clone(),
            token: self.token.as_ref().map(|token| token.expose().clone()),
        })
    }
}

impl ProfileFile {
    fn read(&self) -> Option<AwsCredential> {
        Profile::read(&std::fs::read_to_string(&self.file).ok()?, &self.name)?.credential()
    }
}

#[async_trait]
impl CredentialProvider for ProfileFile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let credential = self.read().ok_or_else(|| {
            let missing = NoProfile { name: self.name.clone(), file: self.file.clone() };
            self.traffic.without_credentials(&missing.to_string());
            object_store::Error::Generic { store: "S3", source: Box::new(missing) }
        })?;
        Ok(Arc::new(credential))
    }
}

/// Returns a file of AWS' command line: the one that a variable names, else the usual one.
fn file(variables: Variables<'_>, variable: &str, name: &str) -> Option<PathBuf> {
    let home = || variables("HOME").map(|home| PathBuf::from(home).join(".aws").join(name));
    variables(variable).map(PathBuf::from).or_else(home)
}

/// Adds what the environment says about credentials: keys, a web identity, a profile, the service of a container; the
/// metadata service of the machine only where the configuration says so.
///
/// Fails with what to do where nothing gives credentials.
pub(super) fn add(
    mut builder: AmazonS3Builder,
    config: &BucketConfig,
    variables: Variables<'_>,
    traffic: &Arc<Traffic>,
) -> Result<AmazonS3Builder, String> {
    match (variables("AWS_ACCESS_KEY_ID"), variables("AWS_SECRET_ACCESS_KEY")) {
        (Some(key), Some(secret)) => {
            builder = builder.with_access_key_id(key).with_secret_access_key(secret);
            if let Some(token) = variables("AWS_SESSION_TOKEN") {
                builder = builder.with_token(token);
            }
            return Ok(builder);
        }
        (Some(_), None) => {
            return Err("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not".to_owned());
        }
        (None, Some(_)) => {
            return Err("AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not".to_owned());
        }
        (None, None) => {}
    }
    if let (Some(token), Some(role)) = (variables("AWS_WEB_IDENTITY_TOKEN_FILE"), variables("AWS_ROLE_ARN")) {
        builder = builder
            .with_config(AmazonS3ConfigKey::WebIdentityTokenFile, token)
            .with_config(AmazonS3ConfigKey::RoleArn, role);
        if let Some(name) = variables("AWS_ROLE_SESSION_NAME") {
            builder = builder.with_config(AmazonS3ConfigKey::RoleSessionName, name);
        }
        if let Some(url) = variables("AWS_ENDPOINT_URL_STS") {
            builder = builder.with_config(AmazonS3ConfigKey::StsEndpoint, url);
        }
        return Ok(builder);
    }
    let name = variables("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    if let Some(file) = file(variables, "AWS_SHARED_CREDENTIALS_FILE", "credentials") {
        let profile = ProfileFile { file, name, traffic: Arc::clone(traffic) };
        if profile.read().is_some() {
            return Ok(builder.with_credentials(Arc::new(profile)));
        }
        if variables("AWS_PROFILE").is_some() {
            return Err(NoProfile { name: profile.name, file: profile.file }.to_string());
        }
    }
    if let Some(path) = variables("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        return Ok(builder.with_config(AmazonS3ConfigKey::ContainerCredentialsRelativeUri, path));
    }
    let container = (
        variables("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        variables("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    );
    if let (Some(url), Some(token)) = container {
        return Ok(builder
            .with_config(AmazonS3ConfigKey::ContainerCredentialsFullUri, url)
            .with_config(AmazonS3ConfigKey::ContainerAuthorizationTokenFile, token));
    }
    if config.instance_metadata {
        return Ok(builder);
    }
    Err("nothing gives credentials for it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or let the machine's \
         metadata service be asked with --s3-instance-metadata"
        .to_owned())
}

/// Returns the region: as it is configured, else as the environment says.
pub(super) fn region(config: &BucketConfig, variables: Variables<'_>) -> String {
    let profile = || {
        let name = variables("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let text = std::fs::read_to_string(file(variables, "AWS_CONFIG_FILE", "config")?).ok()?;
        Profile::read(&text, &name)?.region
    };
    let named = config.region.clone().or_else(|| variables("AWS_REGION"));
    named
        .or_else(|| variables("AWS_DEFAULT_REGION"))
        .or_else(profile)
        .unwrap_or_else(|| "us-east-1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[default]\naws_access_key_id = AK1\naws_secret_access_key = s3cr3t-1\n\n# a comment\n\
        [profile work]\nregion=eu-central-1\n[work]\naws_access_key_id=AK2\naws_secret_access_key=s3cr3t=2\n\
        aws_session_token = t\n";

    #[test]
    fn profiles() {
        let default = Profile::read(FILE, "default").unwrap().credential().unwrap();
        assert_eq!((default.key_id.as_str(), default.secret_key.as_str()), ("AK1", "s3cr3t-1"));
        let work = Profile::read(FILE, "work").unwrap();
        assert_eq!(work.region.as_deref(), Some("eu-central-1"));
        let work = work.credential().unwrap();
        assert_eq!((work.secret_key.as_str(), work.token.as_deref()), ("s3cr3t=2", Some("t")));
        assert_eq!(Profile::read(FILE, "other"), None);
        assert!(!format!("{:?}", Profile::read(FILE, "work")).contains("s3cr3t"));
    }

    #[test]
    fn what_gives_credentials() {
        let config = BucketConfig::new("s3://images".parse().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials").display().to_string();
        std::fs::write(&path, FILE).unwrap();
        let tried = |set: &[(&str, &str)]| {
            let variables = |name: &str| {
                set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
            };
            add(AmazonS3Builder::new(), &config, &variables, &Arc::default()).map(drop)
        };
        let nothing = tried(&[]).unwrap_err();
        assert!(
            nothing.contains("AWS_ACCESS_KEY_ID") && nothing.contains("--s3-instance-metadata"),
            "{nothing}"
        );
        assert!(tried(&[("AWS_ACCESS_KEY_ID", "k")]).unwrap_err().contains("AWS_SECRET_ACCESS_KEY is not"));
        assert_eq!(tried(&[("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")]), Ok(()));
        assert_eq!(tried(&[("AWS_WEB_IDENTITY_TOKEN_FILE", "f"), ("AWS_ROLE_ARN", "r")]), Ok(()));
        let shared = ("AWS_SHARED_CREDENTIALS_FILE", path.as_str());
        assert_eq!(tried(&[shared]), Ok(()));
        assert_eq!(tried(&[shared, ("AWS_PROFILE", "work")]), Ok(()));
        assert!(tried(&[shared, ("AWS_PROFILE", "other")]).unwrap_err().contains("the profile `other`"));
    }

    #[test]
    fn the_region() {
        let mut config = BucketConfig::new("s3://images".parse().unwrap());
        let none = |_: &str| None;
        assert_eq!(region(&config, &none), "us-east-1");
        let set = |name: &str| (name == "AWS_DEFAULT_REGION").then(|| "eu-west-1".to_owned());
        assert_eq!(region(&config, &set), "eu-west-1");
        config.region = Some("auto".to_owned());
        assert_eq!(region(&config, &set), "auto");
    }
}
