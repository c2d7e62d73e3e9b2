//! What the cache answers: a request's route, who may have it, what is at hand, what upstream says.

mod coalesce;
mod freshness;
mod generations;
mod grants;
mod headers;
