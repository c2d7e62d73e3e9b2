//! The Kubernetes API, as far as a scan needs it: the kubeconfig as kubectl finds and reads it, and lists of objects.
//!
//! Written here over the HTTP client that is linked anyway. The `kube` crate would add 27 crates and make typed objects
//! of every pod; a scan reads each page once and keeps names of images. It would also leave two errors without what
//! the user has to know: which program an exec plugin is, and that a client certificate is of X.509 version 1.

mod client;
mod error;
mod exec;
mod kubeconfig;
mod locate;
mod tls;

pub use client::{Api, ListOf};
pub use error::KubernetesError;
pub use kubeconfig::{Access, Kubeconfig};
pub use locate::{in_cluster, kubeconfig_files};
