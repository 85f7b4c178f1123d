//! Protected resources (RFC 8707): metadata, routes, and the lookup of a request's resource.

mod defined_scopes;
mod deleted;
mod demands;
mod destinations;
mod host;
mod index;
mod metadata;
mod resource;
mod route;
mod shared;

pub use crate::authority::resources::defined_scopes::DefinedScopes;
pub use crate::authority::resources::deleted::DELETED;
pub use crate::authority::resources::deleted::DeletedResource;
pub use crate::authority::resources::demands::Demands;
pub use crate::authority::resources::index::Destination;
pub use crate::authority::resources::index::Resources;
pub use crate::authority::resources::metadata::EvidenceSource;
pub use crate::authority::resources::metadata::ResourceMetadata;
pub use crate::authority::resources::metadata::RouteMetadata;
pub use crate::authority::resources::resource::Mode;
pub use crate::authority::resources::resource::ProtectedResource;
pub use crate::authority::resources::resource::RESOURCES;
pub use crate::authority::resources::resource::RegisteredResource;
pub use crate::authority::resources::resource::ResourceRecord;
pub use crate::authority::resources::route::Need;
pub use crate::authority::resources::route::PathNotCanonical;
pub use crate::authority::resources::route::PathTemplate;
pub use crate::authority::resources::route::RequestPath;
pub use crate::authority::resources::route::Route;
pub use crate::authority::resources::route::Routes;
pub use crate::authority::resources::shared::AUTHORITY_INDEX;
pub use crate::authority::resources::shared::Finding;
pub(in crate::authority) use crate::authority::resources::shared::contested;
pub use crate::authority::resources::shared::findings;
