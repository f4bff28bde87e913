//! The front's module of the same name, less what needs a network.

#[path = "../../../front/src/mcp/headers.rs"]
pub(crate) mod headers;
#[path = "../../../front/src/mcp/origin.rs"]
pub(crate) mod origin;
#[path = "../../../front/src/mcp/tools.rs"]
pub(crate) mod tools;
#[path = "../../../front/src/mcp/translate/mod.rs"]
pub(crate) mod translate;
#[path = "../../../front/src/mcp/view.rs"]
pub(crate) mod view;
