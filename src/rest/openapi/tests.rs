use super::{super::fixtures, *};

fn described(source: &str) -> Value {
    let rest = fixtures::load(source).unwrap();
    document(
        &rest,
        fixtures::types(),
        "https://chat.example",
        crate::gate::rules::WITHOUT_IDEMPOTENCY,
    )
}

fn success<'a>(document: &'a Value, path: &str, method: &str) -> &'a Value {
    &document["paths"][path][method]["responses"]["200"]["content"]["application/json"]
}

#[test]
fn published_examples_appear() {
    let document = described(fixtures::V1);
    assert_eq!(
        success(&document, "/profile/{username}", "get")["example"],
        json!({
            "id": "profile_id",
            "username": "username",
            "displayName": "Display Name",
            "avatarUrl": "https://bambisleep.chat/avatars/image.png",
            "isPublic": true,
            "xp": 1250,
            "level": 5,
            "createdAt": "2025-01-01T00:00:00Z",
            "triggers": ["trigger1", "trigger2"],
        })
    );
    assert_eq!(
        success(&document, "/auth/login", "post")["example"],
        json!({
            "success": true,
            "message": "Authentication successful",
            "user": { "id": "user_id", "username": "your_username" },
        })
    );
    assert_eq!(
        success(&document, "/triggers", "get")["example"],
        json!({ "triggers": [{
            "id": "trigger_id",
            "name": "Trigger Name",
            "description": "Trigger Description",
            "isPublic": true,
            "creator": "username",
        }] })
    );
    assert_eq!(
        document["paths"]["/ai/generate"]["post"]["requestBody"]["content"]["application/json"]["example"],
        json!({
            "prompt": "Hello Bambi",
            "settings": { "model": "MODEL_1", "includeAudio": true, "includeTriggers": true },
        })
    );
    assert_eq!(
        success(&document, "/sessions", "get")["example"],
        json!({ "sessions": [
            { "id": "session_id", "createdAt": "2025-01-01T00:00:00Z", "messageCount": 10 },
        ] })
    );
    assert_eq!(
        success(&document, "/ai/generate", "post")["example"]["triggers"],
        json!(["trigger1", "trigger2"])
    );
}

#[test]
fn shapes_of_fragments_are_components() {
    let document = described(fixtures::V1);
    let profile = json!({ "$ref": "#/components/schemas/Profile" });
    assert_eq!(success(&document, "/profile/{username}", "get")["schema"], profile);
    assert_eq!(success(&document, "/profile/{username}", "put")["schema"], profile);
    assert_eq!(
        success(&document, "/triggers", "get")["schema"]["properties"]["triggers"]["items"],
        json!({ "$ref": "#/components/schemas/Trigger" })
    );
    // With `content` it is another shape.
    assert_eq!(
        success(&document, "/triggers", "post")["schema"]["properties"]["content"]["type"],
        "string"
    );
    let profile = &document["components"]["schemas"]["Profile"];
    assert_eq!(profile["properties"]["avatarUrl"]["type"], json!(["string", "null"]));
    assert_eq!(profile["properties"]["triggers"]["items"], json!({ "type": "string" }));
    assert!(profile["required"].as_array().unwrap().contains(&json!("avatarUrl")));
}

#[test]
fn enums_are_spelled_as_rest_spells_them() {
    let document = described(fixtures::V1);
    let kinds = &document["components"]["schemas"]["EventKind"]["enum"];
    assert!(kinds.as_array().unwrap().contains(&json!("message.new")));
    let body = &document["components"]["schemas"]["CreateWebhookInput"];
    assert_eq!(body["required"], json!(["url", "events"]));
    assert_eq!(
        body["properties"]["events"]["items"],
        json!({ "$ref": "#/components/schemas/EventKind" })
    );
}

#[test]
fn parameters_have_their_bounds_and_defaults() {
    let document = described(fixtures::V1);
    assert_eq!(
        document["paths"]["/triggers"]["get"]["parameters"][0],
        json!({
            "name": "first",
            "in": "query",
            "required": false,
            "schema": { "type": "integer", "format": "int32", "minimum": 1, "maximum": 100, "default": 50 },
            "description": "How many at most, 1 to 100.",
        })
    );
    let path = &document["paths"]["/sessions/{sessionId}"]["get"]["parameters"][0];
    assert_eq!((&path["in"], &path["required"]), (&json!("path"), &json!(true)));
}

#[test]
fn who_may_is_told() {
    let document = described(fixtures::V1);
    assert_eq!(document["paths"]["/auth/login"]["post"]["security"], json!([]));
    assert_eq!(
        document["paths"]["/sessions"]["get"]["security"],
        json!([{ "session": [] }, { "bearer": ["sessions:read"] }])
    );
    assert_eq!(
        document["paths"]["/triggers"]["post"]["security"],
        json!([{ "session": [] }, { "bearer": ["triggers:write"] }])
    );
    let description = &document["paths"]["/sessions"]["get"]["description"];
    assert!(
        description
            .as_str()
            .unwrap()
            .ends_with("An API key needs `sessions:read`.")
    );
    let moderators = described("query Q @rest(method: GET, path: \"/reports\") { reports @unwrap { nodes { id } } }");
    let description = &moderators["paths"]["/reports"]["get"]["description"];
    assert!(description.as_str().unwrap().contains("Needs the role `moderator`."));
}

#[test]
fn errors_are_those_that_can_happen() {
    let document = described(fixtures::V1);
    let statuses = |path: &str, method: &str| -> Vec<String> {
        let responses = document["paths"][path][method]["responses"].as_object().unwrap();
        responses.keys().cloned().collect()
    };
    assert_eq!(
        statuses("/triggers", "post"),
        ["200", "400", "401", "403", "409", "413", "415", "429", "500", "503"]
    );
    assert_eq!(
        statuses("/sessions/{sessionId}", "get"),
        ["200", "400", "401", "403", "404", "429", "500", "503"]
    );
    assert!(statuses("/ai/generate", "post").contains(&"502".to_owned()));
    let unauthorized = &document["paths"]["/auth/login"]["post"]["responses"]["401"];
    let code = &unauthorized["content"]["application/json"]["schema"]["allOf"][1]["properties"]["code"];
    assert_eq!(code["enum"], json!(["INVALID_CREDENTIALS"]));
}

#[test]
fn only_mutations_that_take_a_key_have_its_header() {
    let document = described(fixtures::V1);
    let takes_key = |path: &str, method: &str| {
        let parameters = &document["paths"][path][method]["parameters"];
        parameters
            .as_array()
            .is_some_and(|parameters| parameters.contains(&json!({ "$ref": "#/components/parameters/IdempotencyKey" })))
    };
    assert!(takes_key("/triggers", "post"));
    assert!(!takes_key("/triggers", "get"));
    for path in ["/auth/login", "/auth/register", "/auth/ticket", "/webhooks"] {
        assert!(!takes_key(path, "post"), "{path}");
    }
}

#[test]
fn pages_are_in_the_link_header() {
    let document = described(fixtures::V1);
    let headers = |path: &str| &document["paths"][path]["get"]["responses"]["200"]["headers"];
    assert!(headers("/triggers")["Link"].is_object());
    assert!(headers("/profile/{username}")["Link"].is_null());
    assert!(headers("/profile/{username}")["RateLimit-Remaining"].is_object());
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    match value.as_str() {
                        Some(text) if key == "$ref" => found.push(text.to_owned()),
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    for source in [fixtures::V1, super::super::V1] {
        let document = described(source);
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(
                document.pointer(pointer).is_some_and(|target| *target != json!({})),
                "{reference}"
            );
        }
    }
}

#[test]
fn a_file_is_a_part_of_the_body() {
    let document = described(super::super::V1);
    let upload = &document["paths"]["/me/avatar"]["put"];
    assert!(
        upload["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .all(|parameter| parameter["in"].is_null())
    );
    let body = &upload["requestBody"];
    assert_eq!(body["required"], true);
    let content = body["content"].as_object().unwrap();
    assert_eq!(content.keys().collect::<Vec<_>>(), ["multipart/form-data"]);
    let schema = &content["multipart/form-data"]["schema"];
    assert_eq!(schema["required"], json!(["file"]));
    let file = &schema["properties"]["file"];
    assert_eq!((&file["type"], &file["format"]), (&json!("string"), &json!("binary")));
    let responses = upload["responses"].as_object().unwrap();
    assert!(responses.contains_key("413") && responses.contains_key("415"));
}

#[test]
fn names_become_sentences() {
    assert_eq!(sentence("ListTriggers"), "List triggers");
}
