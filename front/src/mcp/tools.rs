//! What a server's tool list says about headers: the `x-mcp-header` annotations of revision 2026-07-28 (SEP-2243).
//!
//! Promises: bounded however long or deep the list is; a malformed schema has no annotations.

use std::collections::HashMap;

use serde_json::Value;

/// Tools that are remembered.
const TOOLS_MAX: usize = 4096;

/// Annotations of one tool that are remembered.
const ANNOTATIONS_MAX: usize = 64;

/// How deep annotations are looked for.
const DEPTH_MAX: usize = 16;

/// One annotated argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotation {
    /// the names from the arguments' root to it
    pub(crate) path: Vec<String>,
    /// the part of the header's name after `Mcp-Param-`
    pub(crate) header: String,
}

/// The annotations by tool name.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    by_name: HashMap<String, Vec<Annotation>>,
}

impl Tools {
    /// Reads one page of a tool list, the raw result of `tools/list`; how many tools it has.
    pub(crate) fn learn(&mut self, result: &str) -> usize {
        let Ok(page) = serde_json::from_str::<Value>(result) else { return 0 };
        let Some(tools) = page.get("tools").and_then(Value::as_array) else { return 0 };
        for tool in tools {
            let Some(name) = tool.get("name").and_then(Value::as_str) else { continue };
            let mut found = Vec::new();
            collect(tool.get("inputSchema"), &mut Vec::new(), &mut found);
            if found.is_empty() {
                self.by_name.remove(name);
            } else if self.by_name.len() < TOOLS_MAX || self.by_name.contains_key(name) {
                self.by_name.insert(name.to_owned(), found);
            }
        }
        tools.len()
    }

    /// The annotations of one tool.
    pub(crate) fn annotations(&self, tool: &str) -> &[Annotation] {
        self.by_name.get(tool).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Annotations count only on a path of `properties` from the root.
fn collect(schema: Option<&Value>, path: &mut Vec<String>, found: &mut Vec<Annotation>) {
    let Some(properties) = schema.and_then(|s| s.get("properties")).and_then(Value::as_object) else {
        return;
    };
    if path.len() >= DEPTH_MAX {
        return;
    }
    for (name, schema) in properties {
        path.push(name.clone());
        if let Some(header) = schema.get("x-mcp-header").and_then(Value::as_str)
            && !header.is_empty()
            && found.len() < ANNOTATIONS_MAX
        {
            found.push(Annotation { path: path.clone(), header: header.to_owned() });
        }
        collect(Some(schema), path, found);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_found_where_they_count() {
        let mut tools = Tools::default();
        let count = tools.learn(
            r#"{"tools":[{"name":"a","inputSchema":{"x-mcp-header":"Root","properties":{
                "p":{"x-mcp-header":"P","properties":{"q":{"x-mcp-header":"Q"}}},
                "no":{"items":{"x-mcp-header":"No"}},"empty":{"x-mcp-header":""}}}},{"name":"b"},{}]}"#,
        );
        assert_eq!(count, 3);
        let found: Vec<_> =
            tools.annotations("a").iter().map(|a| (a.path.join("."), a.header.as_str())).collect();
        assert_eq!(found, [("p".to_owned(), "P"), ("p.q".to_owned(), "Q")]);
        assert!(tools.annotations("b").is_empty() && tools.annotations("c").is_empty());
    }

    #[test]
    fn a_tool_can_lose_its_annotations() {
        let mut tools = Tools::default();
        tools.learn(r#"{"tools":[{"name":"a","inputSchema":{"properties":{"p":{"x-mcp-header":"P"}}}}]}"#);
        tools.learn(r#"{"tools":[{"name":"a","inputSchema":{}}]}"#);
        assert!(tools.annotations("a").is_empty());
        assert_eq!(tools.learn("[]") + tools.learn("junk"), 0);
    }
}
