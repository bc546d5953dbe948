//! JSON-RPC 2.0: one message in, what it is out; and answers.

use serde_json::{Map, Value, json};

pub(super) const NOT_JSON: i32 = -32700;
pub(super) const INVALID_REQUEST: i32 = -32600;
pub(super) const NO_METHOD: i32 = -32601;
pub(super) const INVALID_PARAMS: i32 = -32602;
pub(super) const INTERNAL: i32 = -32603;

/// A message of the client.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    Request(Request),
    /// The answer to the request of this id is not wanted any more.
    Cancellation(Value),
    /// A notification that changes nothing, or an answer to something that we never ask.
    Other,
}

/// Something that wants an answer.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// A string or a number.
    pub(super) id: Value,
    pub(super) method: String,
    pub(super) params: Map<String, Value>,
}

/// Why a request has no result. What a tool could not do is a result.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: i32,
    pub(super) message: String,
    pub(super) data: Value,
}

impl Refusal {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: Value::Null }
    }
}

/// Reads a message.
///
/// # Errors
/// It is none; with the id that the refusal belongs to, as far as there is one.
pub(super) fn read(message: Value) -> Result<Incoming, (Value, Refusal)> {
    let invalid = |id: Value, why: &str| (id, Refusal::new(INVALID_REQUEST, why));
    let Value::Object(mut message) = message else {
        return Err(invalid(Value::Null, "a message is an object"));
    };
    let id = message.remove("id");
    let is_id = |id: &Value| id.is_string() || id.is_number();
    let of = id.clone().filter(is_id).unwrap_or_default();
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid(of, "a message has \"jsonrpc\": \"2.0\""));
    }
    let Some(method) = message.remove("method") else {
        return match message.contains_key("result") || message.contains_key("error") {
            true => Ok(Incoming::Other),
            false => Err(invalid(of, "a request has a method")),
        };
    };
    let Value::String(method) = method else { return Err(invalid(of, "a method is a string")) };
    let params = match message.remove("params") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params,
        // Whoever sends a notification hears nothing of it, whatever is wrong.
        Some(_) if id.is_none() => return Ok(Incoming::Other),
        Some(_) => return Err((of, Refusal::new(INVALID_PARAMS, "params are an object"))),
    };
    match id {
        Some(id) if is_id(&id) => Ok(Incoming::Request(Request { id, method, params })),
        Some(_) => Err(invalid(Value::Null, "an id is a string or a number")),
        None if method == "notifications/cancelled" => {
            Ok(params.get("requestId").cloned().map_or(Incoming::Other, Incoming::Cancellation))
        }
        None => Ok(Incoming::Other),
    }
}

pub(super) fn answered(id: Value, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

pub(super) fn refused(id: Value, refusal: Refusal) -> Value {
    let mut error = json!({ "code": refusal.code, "message": refusal.message });
    if !refusal.data.is_null() {
        error["data"] = refusal.data;
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: Value, expected: Result<Incoming, (Value, i32)>) {
        let found = read(message.clone()).map_err(|(id, refusal)| (id, refusal.code));
        assert_eq!(found, expected, "{message}");
    }

    #[test]
    fn a_message_is_a_request_or_wants_no_answer() {
        let request = |id: Value, params: Value| {
            let params = params.as_object().cloned().unwrap_or_default();
            Ok(Incoming::Request(Request { id, method: "m".into(), params }))
        };
        check(json!({"jsonrpc": "2.0", "id": 1, "method": "m"}), request(json!(1), Value::Null));
        check(
            json!({"jsonrpc": "2.0", "id": "a", "method": "m", "params": {"x": 1}}),
            request(json!("a"), json!({"x": 1})),
        );
        for ignored in [
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled"}),
            json!({"jsonrpc": "2.0", "method": "m", "params": []}),
            json!({"jsonrpc": "2.0", "id": 1, "result": {}}),
            json!({"jsonrpc": "2.0", "id": 1, "error": {}}),
        ] {
            check(ignored, Ok(Incoming::Other));
        }
        let cancelled =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
        check(cancelled, Ok(Incoming::Cancellation(json!(7))));
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_id() {
        let nobody = Value::Null;
        check(json!(1), Err((nobody.clone(), INVALID_REQUEST)));
        check(json!({"id": 3, "method": "m"}), Err((json!(3), INVALID_REQUEST)));
        check(json!({"jsonrpc": "2.0", "id": 3}), Err((json!(3), INVALID_REQUEST)));
        check(json!({"jsonrpc": "2.0", "id": 3, "method": 4}), Err((json!(3), INVALID_REQUEST)));
        check(json!({"jsonrpc": "2.0", "id": [], "method": "m"}), Err((nobody, INVALID_REQUEST)));
        check(
            json!({"jsonrpc": "2.0", "id": 3, "method": "m", "params": 1}),
            Err((json!(3), INVALID_PARAMS)),
        );
    }
}
