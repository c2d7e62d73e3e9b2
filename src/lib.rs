//! Registry mirrors for Talos Linux clusters: one inventory, and everything that follows from it.
//!
//! The modules, each of which may use those above it and none below; a test keeps the rule.
//!
//! - [`image`]: words of an image reference: registry host, repository, tag, digest, platform; Docker Hub's aliases.
//! - [`secret`]: a value that nothing prints, and where one comes from.
//! - [`mod@file`]: files written whole or not at all, locks, logs of lines, private folders, files watched for a change.
//! - [`tls`]: the cryptography behind every TLS connection.
//! - [`yaml`]: YAML as text: documents with the span of every value, edits that leave every other byte.
//! - [`sops`]: the SOPS file format: value cipher, MAC, metadata, rules, recipients and identities, rewriting that
//!   changes only what changed.
//! - [`registries`]: Talos' registry model, its two schemas, and which version understands what.
//! - [`finding`]: what is wrong with a file: code, place, reason, fix; reading that collects all of it.
//! - [`inventory`]: the user's file: schema, parse, findings with codes and places, what each node gets.
//! - [`machineconfig`]: a Talos machine config: its registries read, replaced in place, compared.
//! - [`patch`]: registries as JSON patch, strategic merge patch or documents, against nothing or a machine config.
//! - [`import`]: foreign files, such as machine configs, patches, k3s' `registries.yaml`, as an inventory.
//! - [`oci`]: the distribution protocol: routes, ranges, challenges, tokens, manifests, errors; the client over it.
//! - [`mirror`]: images and the mirrors they come through: what a cluster pulls, what each hop of a pull answers.
//! - [`talos`]: the Talos API: talosconfig, certificates, a connection a node, COSI resources.
//! - [`kubernetes`]: the kubeconfig, and lists of objects that name images.
//! - [`backup`]: the encrypted file of a node's machine config.
//! - [`rollout`]: registries on live nodes: plan, waves, what is done to a node step by step, its journal.
//! - [`harbor`]: a Harbor's registries, proxy projects and robot from the inventory: desired, actual, what differs.
//! - [`ui`]: results, findings, errors with hints, exit codes: what commands of both binaries say.
//! - [`mod@http`]: the transport: HTTP/1.1 and HTTP/2, TLS, limits, drain; it knows no registry and no cache.
//! - [`cache`]: the pull-through cache: upstreams, single flight, store, eviction, users, metrics.
//! - [`template`]: renders what lies in `templates/`.
//! - [`cli`]: arguments, one file a command, tables, prompts, errors with hints, exit codes.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod file;
pub mod image;
pub mod secret;
pub mod tls;
pub mod yaml;

pub mod sops;

pub mod registries;

pub mod finding;

pub mod inventory;

pub mod machineconfig;

pub mod patch;

pub mod import;

pub mod oci;

pub mod mirror;

pub mod talos;

pub mod kubernetes;

pub mod backup;

pub mod rollout;

pub mod harbor;

pub mod ui;

pub mod http;

pub mod cache;

pub mod template;

pub mod cli;
