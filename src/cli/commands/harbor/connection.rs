//! A Harbor of the inventory, and the account that it is asked with.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::runtime::Runtime;

use crate::cli::args::Global;
use crate::cli::input::{environment, read};
use crate::cli::inventory::{LoadedInventory, load};
use crate::harbor::{Account, Desired, Harbor, HarborError, harbors};
use crate::inventory::{Credentials, Mirror, Text, Tls};
use crate::oci::{Http, HttpSettings, Timeouts};
use crate::secret::{Secret, Values as _, without_userinfo};
use crate::ui::{CliError, Ui, exit};

/// Which Harbor is meant, and how long it is waited for.
#[derive(Clone, Debug, Args)]
pub(super) struct ConnectionArgs {
    /// The mirror of kind harbor, by name; needed where the inventory has several
    #[arg(long, env = "TALMIRROR_MIRROR", value_name = "MIRROR", help_heading = "Harbor")]
    pub(super) mirror: Option<String>,
    /// How long one answer may take: Harbor asks an upstream before it takes it
    #[arg(long, env = "TALMIRROR_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = crate::ui::positive_duration, help_heading = "Harbor")]
    pub(super) timeout: Duration,
}

/// A Harbor that can be asked.
pub(super) struct Connection {
    pub(super) loaded: LoadedInventory,
    /// The mirror's name.
    pub(super) name: String,
    pub(super) desired: Desired,
    pub(super) harbor: Harbor,
    pub(super) runtime: Runtime,
}

impl Connection {
    /// Reads the inventory and makes a client; nothing is asked yet.
    pub(super) fn open(ui: &mut Ui, global: &Global, args: &ConnectionArgs) -> Result<Self, CliError> {
        let mut loaded = load(ui, global)?;
        let name = select(&loaded, args.mirror.as_deref())?;
        let desired = Desired::new(&loaded.inventory, &name, &mut loaded.sources)?;
        let mirror = loaded.inventory.mirrors.get(&name).cloned();
        let Some(mirror) = mirror else { return Err(no_harbor(&loaded)) };
        let account = match account_of_environment() {
            Some(account) => {
                tell_clear(ui, &mirror.url);
                account
            }
            // What the inventory sends in clear is told by its own check.
            None => account(&mirror, &name, &mut loaded)?,
        };
        let ca = match &mirror.tls {
            Some(tls) => ca(tls, &name, &mut loaded)?,
            None => None,
        };
        let harbor = client(&mirror.url, account, ca.as_deref(), args.timeout)?;
        Ok(Self { loaded, name, desired, harbor, runtime: runtime()? })
    }

    /// Returns the mirror.
    pub(super) fn mirror(&self) -> Option<&Mirror> {
        self.loaded.inventory.mirrors.get(&self.name)
    }

    /// Returns the mirror's URL, without credentials.
    pub(super) fn url(&self) -> String {
        self.mirror().map(|mirror| without_userinfo(&mirror.url)).unwrap_or_default()
    }

    /// Returns the credentials that nodes have, if the inventory has any.
    pub(super) fn robot(&mut self) -> Result<Option<Account>, CliError> {
        let Some(credentials) = self.mirror().and_then(|mirror| mirror.credentials.clone()) else {
            return Ok(None);
        };
        let path = format!("mirrors.{}.credentials", self.name);
        Ok(Some(pair(&credentials, &path, &mut self.loaded)?))
    }
}

/// Starts what waits for answers.
pub(super) fn runtime() -> Result<Runtime, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::from_error(exit::REMOTE, error).context("cannot wait for answers"))
}

/// Makes a client of a Harbor.
pub(super) fn client(
    url: &str,
    account: Account,
    ca: Option<&str>,
    timeout: Duration,
) -> Result<Harbor, CliError> {
    let roots = match ca {
        Some(pem) => {
            let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            let roots = roots.ok().filter(|roots| !roots.is_empty());
            roots.ok_or_else(|| CliError::new(exit::INVALID, "the CA is not PEM"))?
        }
        None => Vec::new(),
    };
    let timeouts = Timeouts { header: timeout, ..Timeouts::default() };
    let http = Http::new(&HttpSettings { timeouts, roots, ..HttpSettings::default() });
    Ok(Harbor::new(http.map_err(HarborError::from)?, url, account)?)
}

fn select(loaded: &LoadedInventory, named: Option<&str>) -> Result<String, CliError> {
    let known = harbors(&loaded.inventory);
    match (named.filter(|name| !name.is_empty()), known.as_slice()) {
        (Some(name), _) if known.contains(&name) => Ok(name.to_owned()),
        (Some(name), _) => {
            let error = CliError::usage(format!("`{}` has no mirror `{name}` of kind harbor", loaded.file));
            Err(error.help(format!("known: {}", known.join(", "))))
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => Err(no_harbor(loaded)),
        (None, [..]) => Err(CliError::usage(format!("`{}` has several mirrors of kind harbor", loaded.file))
            .help(format!("name one with --mirror: {}", known.join(", ")))),
    }
}

fn no_harbor(loaded: &LoadedInventory) -> CliError {
    CliError::new(exit::INVALID, format!("`{}` has no mirror of kind harbor", loaded.file))
        .help("`mirror: https://HARBOR` is the shortest way to say one")
}

/// Returns the account that the environment names.
pub(super) fn account_of_environment() -> Option<Account> {
    let some = |name: &str| environment(name).filter(|value| !value.is_empty());
    let password = some("HARBOR_PASSWORD")?;
    let user = some("HARBOR_USERNAME").unwrap_or_else(|| "admin".to_owned());
    Some(Account { user, password: Secret::new(password) })
}

/// Says that no account is named.
pub(super) fn no_account(mirror: &str) -> CliError {
    CliError::new(exit::SECRET, "nothing says who sets Harbor up").help(format!(
        "set HARBOR_USERNAME and HARBOR_PASSWORD, or `mirrors.{mirror}.admin: {{username: …, passwordFrom: …}}`"
    ))
}

/// Warns if the password of the environment goes over the network in clear.
pub(super) fn tell_clear(ui: &mut Ui, url: &str) {
    let host = url.parse::<url::Url>().ok().filter(|url| url.scheme() == "http");
    let here = |host: url::Host<&str>| match host {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
    };
    if host.is_some_and(|url| !url.host().is_some_and(here)) {
        let message =
            format!("HARBOR_PASSWORD goes to `{}` in clear: it is not https", without_userinfo(url));
        ui.warn(&message, Some("every host between here and Harbor can read it: give Harbor a certificate"));
    }
}

/// Returns who asks, of the inventory.
pub(super) fn account(
    mirror: &Mirror,
    name: &str,
    loaded: &mut LoadedInventory,
) -> Result<Account, CliError> {
    match &mirror.admin {
        Some(admin) => pair(admin, &format!("mirrors.{name}.admin"), loaded),
        None => Err(no_account(name)),
    }
}

pub(super) fn pair(
    credentials: &Credentials,
    path: &str,
    loaded: &mut LoadedInventory,
) -> Result<Account, CliError> {
    let Some(user) = credentials.username() else {
        let message = format!("`{path}` is not a username and a password, and Harbor takes nothing else");
        return Err(
            CliError::new(exit::INVALID, message).help("write `username` and `password` or `passwordFrom`")
        );
    };
    let password = loaded.sources.secret(credentials.secret());
    let password = password.map_err(|error| {
        CliError::from_error(exit::SECRET, error).context(format!("cannot get the password of `{path}`"))
    })?;
    if password.expose().starts_with("ENC[") {
        let message = format!("the password of `{path}` is still encrypted");
        return Err(
            CliError::new(exit::SECRET, message).help("the file has no `sops:` block to open it with")
        );
    }
    Ok(Account { user: user.to_owned(), password })
}

/// Returns the authorities of the mirror; refuses what would show the password to a stranger.
pub(super) fn ca(tls: &Tls, name: &str, loaded: &mut LoadedInventory) -> Result<Option<String>, CliError> {
    if tls.insecure_skip_verify {
        let message = format!("`mirrors.{name}.tls` leaves the certificate unchecked");
        return Err(CliError::new(exit::INVALID, message).help(
            "the administrator's password goes to hosts that are checked only: give `tls: {caFile: …}`",
        ));
    }
    if tls.client_identity.is_some() {
        let message =
            format!("`mirrors.{name}.tls` has a client certificate, and Harbor's API is asked without one");
        return Err(CliError::new(exit::INVALID, message)
            .help("run this command where Harbor is reached without what stands before it"));
    }
    match &tls.ca {
        None => Ok(None),
        Some(Text::Inline(text)) => Ok(Some(text.clone())),
        Some(Text::File(file)) => loaded.sources.file(Path::new(file)).map(Some).map_err(|error| {
            CliError::from_error(exit::SECRET, error)
                .context(format!("cannot get `mirrors.{name}.tls.caFile`"))
        }),
    }
}

/// Reads a file of authorities that a flag names.
pub(super) fn ca_file(file: Option<&str>) -> Result<Option<String>, CliError> {
    file.map(read).transpose()
}
