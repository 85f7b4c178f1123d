//! Edges: servers that decide beside proxies by what the centre sends them.

mod upstream_store;
