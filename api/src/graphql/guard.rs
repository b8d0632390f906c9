//! Limits of one request, checked before the document is validated or answered.
//!
//! A short document can expand to a long one: fragments multiply their contents, aliases repeat a field, and nested lists
//! of the introspection grow with every level. So the text is bounded before it is parsed, and the document
//! is weighed, with every fragment weighed once, before any visitor that follows fragments sees it.

use std::collections::HashMap;

use async_graphql::parser::types::{
    ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::parser::{self, Positioned};
use async_graphql::{Name, ServerError};

use super::error;
use crate::ApiError;

/// A limit's name and its value.
type Limit = (&'static str, usize);

/// The longest document, in bytes.
const LENGTH: Limit = ("query_bytes_max", 64 * 1024);
/// The deepest nesting of brackets, of lists as well as of selections.
const NESTING: Limit = ("query_nesting_max", 48);
/// The deepest nesting of fields.
const DEPTH: Limit = ("query_depth_max", 12);
/// The most calls of the service in one request: fields at the root, including aliases.
const ROOTS: Limit = ("query_root_fields_max", 30);
/// The most selections once every fragment is expanded.
const FIELDS: Limit = ("query_fields_max", 1_000);
/// The deepest nesting of introspection lists.
const INTROSPECTION_LISTS: Limit = ("query_introspection_lists_max", 3);
/// The highest cost of an answer: a field costs one, and the selection of a page counts once for each requested item.
pub(super) const COST: Limit = ("query_complexity_max", 50_000);

/// Introspection lists whose items contain such lists again.
const TYPE_LISTS: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];

/// Parses a document, and refuses it when it exceeds a limit.
pub(super) fn parse(query: &str, introspection: bool) -> Result<ExecutableDocument, ServerError> {
    let refused = |error: ApiError| error::of(&error, None);
    within(LENGTH, query.len()).map_err(refused)?;
    within(NESTING, nesting(query)).map_err(refused)?;
    let document = parser::parse_query(query).map_err(unparsable)?;
    let mut scale = Scale { document: &document, introspection, fragments: HashMap::new() };
    for (_, operation) in document.operations.iter() {
        let weight = scale.selections(&operation.node.selection_set, 0).map_err(refused)?;
        weight.check().map_err(refused)?;
        check_subscription(&operation.node).map_err(refused)?;
    }
    Ok(document)
}

/// Checks that a subscription has exactly one field. The library would run several fields concurrently, and ignore those in
/// fragments.
fn check_subscription(operation: &OperationDefinition) -> Result<(), ApiError> {
    let root = operation.selection_set.node.items.as_slice();
    let one_field = matches!(root, [one] if matches!(one.node, Selection::Field(_)));
    if operation.ty != OperationType::Subscription || one_field {
        return Ok(());
    }
    let problem = "a subscription has exactly one field at its root, outside of any fragment";
    Err(ApiError::InvalidQuery { problem: problem.to_owned() })
}

/// Converts an error of the parser, without its copy of the line: a document is often a single line.
fn unparsable(error: parser::Error) -> ServerError {
    let mut refused = ServerError::from(error);
    let words = refused.message.rsplit_once("\n  = ").map_or(refused.message.as_str(), |(_, words)| words);
    let words = words.lines().next().unwrap_or_default();
    let place = refused.locations.first();
    let place = place.map(|place| format!(" in line {}, column {}", place.line, place.column));
    refused.message = format!("the document cannot be parsed{}: {words}", place.unwrap_or_default());
    error::complete(&mut refused);
    refused
}

/// Finds the operation with the requested name, or the first operation.
pub(super) fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    let asked = |own: Option<&Name>| name.is_none_or(|asked| own.is_some_and(|own| own == asked));
    document.operations.iter().find(|(own, _)| asked(*own)).map(|(_, operation)| &operation.node)
}

/// The names of the root fields in the answer, in the order of the document.
pub(super) fn answer_names(document: &ExecutableDocument, operation: &OperationDefinition) -> Vec<Name> {
    let mut names = Vec::new();
    collect_names(document, &operation.selection_set.node, &mut names);
    names
}

fn collect_names(document: &ExecutableDocument, set: &SelectionSet, names: &mut Vec<Name>) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => names.push(field.node.response_key().node.clone()),
            Selection::InlineFragment(fragment) => {
                collect_names(document, &fragment.node.selection_set.node, names);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    collect_names(document, &fragment.node.selection_set.node, names);
                }
            }
        }
    }
}

fn within((limit, max): Limit, value: usize) -> Result<(), ApiError> {
    if value > max { Err(ApiError::QueryTooLarge { limit, max }) } else { Ok(()) }
}

/// The deepest nesting of brackets. Brackets in strings and comments count, too: this is an upper bound, found without
/// the parser, whose recursion it limits.
fn nesting(query: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in query.bytes() {
        match byte {
            b'{' | b'[' | b'(' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The weight of a set of selections with its fragments expanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weight {
    /// Fields at the root of the set.
    roots: usize,
    /// Fields and fragments on all levels: even an empty fragment is work.
    fields: usize,
    /// The deepest nesting of fields. An introspection selection counts as one level, because it has its own limit.
    depth: usize,
    /// The deepest nesting of introspection lists.
    lists: usize,
}

impl Weight {
    fn check(self) -> Result<(), ApiError> {
        within(ROOTS, self.roots)?;
        within(FIELDS, self.fields)?;
        within(DEPTH, self.depth)?;
        within(INTROSPECTION_LISTS, self.lists)
    }

    fn beside(self, other: Self) -> Self {
        Self {
            roots: self.roots.saturating_add(other.roots),
            fields: self.fields.saturating_add(other.fields),
            depth: self.depth.max(other.depth),
            lists: self.lists.max(other.lists),
        }
    }

    /// The weight of a field with this selection.
    fn under(self, field: &str) -> Self {
        let introspection = matches!(field, "__schema" | "__type");
        Self {
            roots: 1,
            fields: self.fields.saturating_add(1),
            depth: if introspection { 1 } else { self.depth.saturating_add(1) },
            lists: self.lists + usize::from(TYPE_LISTS.contains(&field)),
        }
    }

    /// The weight of a fragment with this selection.
    fn spread(self) -> Self {
        Self { fields: self.fields.saturating_add(1), ..self }
    }
}

struct Scale<'a> {
    document: &'a ExecutableDocument,
    introspection: bool,
    /// The fragments seen so far; `None` while a fragment is being weighed.
    fragments: HashMap<&'a str, Option<Weight>>,
}

impl<'a> Scale<'a> {
    /// Weighs a set of selections. `level` counts nested sets, including fragments, and bounds the recursion.
    fn selections(&mut self, set: &'a Positioned<SelectionSet>, level: usize) -> Result<Weight, ApiError> {
        within(NESTING, level)?;
        set.node.items.iter().try_fold(Weight::default(), |weight, selection| {
            Ok(weight.beside(self.selection(&selection.node, level + 1)?))
        })
    }

    fn selection(&mut self, selection: &'a Selection, level: usize) -> Result<Weight, ApiError> {
        match selection {
            Selection::Field(field) => {
                let name = field.node.name.node.as_str();
                if !self.introspection && matches!(name, "__schema" | "__type") {
                    let problem =
                        "introspection is switched off on this node; `batuta schema` prints the schema";
                    return Err(ApiError::InvalidQuery { problem: problem.to_owned() });
                }
                Ok(self.selections(&field.node.selection_set, level)?.under(name))
            }
            Selection::InlineFragment(fragment) => {
                Ok(self.selections(&fragment.node.selection_set, level)?.spread())
            }
            Selection::FragmentSpread(spread) => {
                // An unknown fragment weighs nothing; validation refuses it.
                let name = &spread.node.fragment_name.node;
                let Some((name, fragment)) = self.document.fragments.get_key_value(name) else {
                    return Ok(Weight::default().spread());
                };
                match self.fragments.get(name.as_str()) {
                    Some(Some(known)) => return Ok(*known),
                    Some(None) => {
                        let problem = format!("fragment {name} spreads itself");
                        return Err(ApiError::InvalidQuery { problem });
                    }
                    None => self.fragments.insert(name, None),
                };
                let weight = self.selections(&fragment.node.selection_set, level)?.spread();
                self.fragments.insert(name, Some(weight));
                Ok(weight)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn refusal(query: &str, introspection: bool) -> String {
        let Err(error) = parse(query, introspection) else { return "taken".to_owned() };
        let extensions = serde_json::to_value(error.extensions).unwrap();
        extensions["details"]["limit"].as_str().or(extensions["code"].as_str()).unwrap().to_owned()
    }

    #[test]
    fn every_limit_is_exact() {
        let deep = |depth: usize| format!("{}a{}", "{a".repeat(depth - 1) + "{", "}".repeat(depth));
        let wide = |roots: usize| format!("{{{}}}", "cluster ".repeat(roots));
        let large = |fields: usize| format!("{{a{{{}}}}}", "b ".repeat(fields - 1));
        let lists = |lists: usize| {
            let inner = "fields{type{".repeat(lists);
            format!("{{__schema{{types{{{inner}name{}}}}}}}", "}}".repeat(lists))
        };
        let long = |bytes: usize| format!("{{a}}{}", " ".repeat(bytes - 3));
        let nested =
            |brackets: usize| format!("{{a(b:{}{})}}", "[".repeat(brackets - 2), "]".repeat(brackets - 2));
        let cases: [(&dyn Fn(usize) -> String, Limit); 6] = [
            (&deep, DEPTH),
            (&wide, ROOTS),
            (&large, FIELDS),
            (&lists, INTROSPECTION_LISTS),
            (&long, LENGTH),
            (&nested, NESTING),
        ];
        for (query, (limit, max)) in cases {
            assert_eq!(refusal(&query(max), true), "taken", "{limit}");
            assert_eq!(refusal(&query(max + 1), true), limit);
        }
    }

    #[test]
    fn the_page_names_every_bound() {
        let page = include_str!("../../../docs/api-graphql.md");
        let limits = [LENGTH, NESTING, DEPTH, ROOTS, FIELDS, INTROSPECTION_LISTS, COST];
        for (limit, max) in limits {
            let shown = match max {
                65_536 => "64 KiB".to_owned(),
                1_000.. => format!("{},{:03}", max / 1_000, max % 1_000),
                _ => max.to_string(),
            };
            assert!(page.contains(&format!("\n| `{limit}` | {shown} | ")), "{limit} = {shown}");
        }
    }

    #[test]
    fn fragments_count_where_they_are_spread() {
        assert_eq!(refusal("{...f} fragment f on Query {a}", true), "taken");
        let roots = format!("{{...f}} fragment f on Query {{{}}}", "cluster ".repeat(31));
        assert_eq!(refusal(&roots, true), "query_root_fields_max");
        // Each fragment contains the next one twice: expanded it has 2^40 fields, weighing it takes 40 steps.
        let mut bomb = "{a{...f0}}".to_owned();
        for index in 0..40 {
            let next = index + 1;
            write!(bomb, " fragment f{index} on Lock {{...f{next} ...f{next}}}").unwrap();
        }
        let unknown = format!("{bomb} fragment f40 on Lock {{...nowhere}}");
        bomb.push_str(" fragment f40 on Lock {name}");
        for bomb in [bomb, unknown] {
            assert_eq!(refusal(&bomb, true), "query_fields_max");
        }
        let cycle = "{...f} fragment f on Query {...g ...g} fragment g on Query {...f ...f}";
        assert_eq!(refusal(cycle, true), "invalid_query");
        let mut chain = "{...f0}".to_owned();
        for index in 0..60 {
            let next = index + 1;
            write!(chain, " fragment f{index} on Query {{...f{next}}}").unwrap();
        }
        assert_eq!(refusal(&chain, true), "query_nesting_max");
    }

    #[test]
    fn introspection_can_be_off() {
        for query in ["{__schema{types{name}}}", "{...f} fragment f on Query {__type(name:\"Lock\"){name}}"] {
            assert_eq!(refusal(query, true), "taken");
            assert_eq!(refusal(query, false), "invalid_query");
        }
        assert_eq!(refusal("{__typename}", false), "taken");
    }

    #[test]
    fn parse_error_names_the_place() {
        for (query, place) in
            [("", "line 1, column 1:"), ("{", "line 1, column 2:"), ("{\n  a(b:\"})\n}", "line 2, column")]
        {
            let error = parse(query, true).unwrap_err();
            assert!(error.message.contains(place), "{}", error.message);
            assert_eq!(error.message.lines().count(), 1, "{}", error.message);
            assert_eq!(error.locations.len(), 1);
        }
    }

    #[test]
    fn answer_has_the_order_of_the_document() {
        let query = "query A {a} query B {c ...f ... on Query {b}} fragment f on Query {x: z}";
        let document = parse(query, true).unwrap();
        let names = |name| operation(&document, name).map(|operation| answer_names(&document, operation));
        assert_eq!(names(Some("B")).unwrap(), ["c", "x", "b"]);
        assert_eq!(names(Some("C")), None);
        let single = parse("{a}", true).unwrap();
        assert_eq!(answer_names(&single, operation(&single, None).unwrap()), ["a"]);
    }

    #[test]
    fn a_subscription_has_one_field() {
        assert_eq!(refusal("subscription {a{b}}", true), "taken");
        for query in [
            "subscription {a b}",
            "subscription {...f} fragment f on Subscription {a}",
            "subscription {...{a}}",
            "query Q {a b} subscription S {a b}",
        ] {
            assert_eq!(refusal(query, true), "invalid_query", "{query}");
        }
    }
}
