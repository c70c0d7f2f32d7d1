use std::fmt::Write;

use async_graphql::parser::parse_query;

use super::*;
use crate::graphql::document::LIMITS;

fn measured(text: &str) -> Result<Measured, TooComplex> {
    measure(&parse_query(text).unwrap(), &LIMITS)
}

fn refused(text: &str) -> String {
    let refused = measured(text).expect_err(text);
    assert_eq!(refused.error.kind(), Kind::QueryTooComplex);
    refused.error.message().to_owned()
}

#[test]
fn a_fragment_bomb_is_refused_and_each_fragment_looked_at_once() {
    let mut bomb = "{ ...f0 } ".to_owned();
    for level in 0..22 {
        write!(bomb, "fragment f{level} on Query {{ ...f{0} ...f{0} }} ", level + 1).unwrap();
    }
    bomb.push_str("fragment f22 on Query { a }");
    assert_eq!(refused(&bomb), "more than 1000 fields");

    let document = parse_query(&bomb).unwrap();
    let unlimited = Limits {
        fields: u32::MAX,
        expanded_bytes: usize::MAX,
        ..LIMITS
    };
    let measured = measure(&document, &unlimited).unwrap();
    assert_eq!(measured.total.fields, 1 << 22);
    assert_eq!(measured.visited, 1 + 22 * 2 + 1);
}

#[test]
fn fragments_that_contain_themselves_are_refused() {
    assert_eq!(
        refused("{ ...a } fragment a on Query { ...a }"),
        "fragment a contains itself"
    );
    assert!(refused("{ x } fragment a on Query { b { ...b } } fragment b on Query { c { ...a } }").contains("itself"));
}

#[test]
fn a_fragment_nobody_spreads_is_measured_too() {
    let fields = "a ".repeat(1_001);
    assert_eq!(
        refused(&format!("{{ a }} fragment f on Query {{ {fields} }}")),
        "more than 1000 fields"
    );
}

#[test]
fn depth_counts_fields_and_nesting_everything() {
    let nested = |open: &str, levels: usize| format!("{}a{}", open.repeat(levels), "}".repeat(levels));
    assert!(measured(&format!("{{ {} }}", nested("a{", 11))).is_ok());
    assert_eq!(
        refused(&format!("{{ {} }}", nested("a{", 12))),
        "fields nest deeper than 12"
    );
    assert!(measured(&format!("{{ {} }}", nested("...{", 32))).is_ok());
    assert_eq!(
        refused(&format!("{{ {} }}", nested("...{", 33))),
        "selections nest deeper than 32"
    );
}

#[test]
fn a_chain_of_fragments_is_as_deep_as_it_is_long() {
    let mut chain = "{ ...f0 } ".to_owned();
    for level in 0..400 {
        write!(chain, "fragment f{level} on Query {{ ...f{} }} ", level + 1).unwrap();
    }
    chain.push_str("fragment f400 on Query { a }");
    assert_eq!(refused(&chain), "selections nest deeper than 32");
}

#[test]
fn operations_count_separately_but_not_without_end() {
    let operations = |count: usize| {
        let fields = "a ".repeat(100);
        let mut text = format!("fragment f on Query {{ {fields} }} ");
        for operation in 0..count {
            write!(text, "query q{operation} {{ ...f }} ").unwrap();
        }
        text
    };
    assert_eq!(measured(&operations(50)).unwrap().total.fields, 5_000);
    assert_eq!(refused(&operations(51)), "too many fields in all operations");
}

#[test]
fn arguments_are_bounded_once_expanded() {
    let text = "x".repeat(8_000);
    let spread = |times: usize| {
        format!(
            "{{ {} }} fragment f on Query {{ a(x: \"{text}\") }}",
            "...f ".repeat(times)
        )
    };
    assert!(measured(&spread(30)).is_ok());
    assert!(refused(&spread(40)).contains("arguments"));
}

/// As graphql-js's `getIntrospectionQuery` has it with every option on, and the older ones of GraphiQL and the code
/// generators, which differ in what they leave out and how deep `ofType` goes.
fn introspection(of_type: usize) -> String {
    let of_type = format!("{}{}", " ofType { kind name".repeat(of_type), " }".repeat(of_type));
    format!(
        "query IntrospectionQuery {{
          __schema {{
            description
            queryType {{ name kind }} mutationType {{ name kind }} subscriptionType {{ name kind }}
            types {{ ...FullType }}
            directives {{
              name description isRepeatable locations
              args(includeDeprecated: true) {{ ...InputValue }}
            }}
          }}
        }}
        fragment FullType on __Type {{
          kind name description specifiedByURL isOneOf
          fields(includeDeprecated: true) {{
            name description
            args(includeDeprecated: true) {{ ...InputValue }}
            type {{ ...TypeRef }}
            isDeprecated deprecationReason
          }}
          inputFields(includeDeprecated: true) {{ ...InputValue }}
          interfaces {{ ...TypeRef }}
          enumValues(includeDeprecated: true) {{ name description isDeprecated deprecationReason }}
          possibleTypes {{ ...TypeRef }}
        }}
        fragment InputValue on __InputValue {{
          name description type {{ ...TypeRef }} defaultValue isDeprecated deprecationReason
        }}
        fragment TypeRef on __Type {{ kind name{of_type} }}"
    )
}

#[test]
fn the_tools_introspection_passes() {
    for depth in [7, 9, 10] {
        let size = measured(&introspection(depth)).unwrap().total;
        assert!(size.introspected * 2 < INTROSPECTION, "{size:?}");
        assert_eq!((size.depth, size.lists), (0, 1));
    }
    measured("{ __type(name: \"Profile\") { name fields { name type { name fields { name } } } } }").unwrap();
}

#[test]
fn introspection_bombs_are_refused() {
    for path in [
        "fields { type { ",
        "possibleTypes { interfaces { ",
        "inputFields { type { ",
    ] {
        let levels = 3;
        let bomb = format!(
            "{{ __schema {{ types {{ {} name {} }} }} }}",
            path.repeat(levels),
            "} }".repeat(levels)
        );
        assert_eq!(refused(&bomb), "introspection follows more than 2 lists", "{bomb}");
    }
    let aliased: String = (0..160)
        .map(|alias| format!("a{alias}: __schema {{ types {{ fields {{ args {{ name }} }} }} }} "))
        .collect();
    assert_eq!(refused(&format!("{{ {aliased} }}")), "introspection produces too much");
    let spread = "{ __schema { ...s } } fragment s on __Schema { types { ...t } }
        fragment t on __Type { fields { type { ...u } } } fragment u on __Type { fields { type { ...v } } }
        fragment v on __Type { possibleTypes { name } }";
    assert_eq!(refused(spread), "introspection follows more than 2 lists");
}
