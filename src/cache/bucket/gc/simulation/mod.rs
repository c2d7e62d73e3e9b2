//! Replicas and collectors on one bucket, interleaved by chance, one request at a time.

mod replica;
mod run;
mod world;
