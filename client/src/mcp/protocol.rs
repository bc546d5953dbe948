//! What is asked of a server: to begin, to say which tools there are, to use one.
//!
//! Two kinds of clients come. Those up to the revision of November 2025 begin with `initialize`, and both agree on a revision.
//! Later ones begin with nothing, and say with each request which revision they speak. Nothing is remembered between requests,
//! so both are answered side by side.

use serde_json::{Map, Value, json};

use super::message::{self, Refusal, Request};
use super::tools::{self, Tool};
use crate::cli::Target;

/// Revisions that begin with `initialize`, the latest first.
const WITH_BEGINNING: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The revision without.
const LATEST: &str = "2026-07-28";

/// Where requests say which revision they speak.
const REVISION: &str = "io.modelcontextprotocol/protocolVersion";

const UNSUPPORTED_REVISION: i32 = -32022;

/// For the assistant.
const INSTRUCTIONS: &str = "The user's own photos, indexed by a daemon on their machine. Photos are found by words for what they \
    show, by pictures that they resemble, and by date, camera, folder and place. A photo is named by its `content`, wherever a \
    picture is asked for; a file's path will do as well. Look at photos with show_photos before you say what is in them. \
    Distances: 0 is the same, smaller is nearer. A time without Z is the camera's clock. Nothing can be changed by these tools.";

/// How long a client may keep the list of tools: it is that of the program.
const FRESH_MILLISECONDS: u32 = 3_600_000;

/// Answers a request, or says why not.
pub(super) async fn answer(target: &Target, request: Request) -> Value {
    let Request { id, method, params } = request;
    match result(target, &method, params).await {
        Ok(result) => message::answered(id, result),
        Err(refusal) => message::refused(id, refusal),
    }
}

async fn result(target: &Target, method: &str, params: Map<String, Value>) -> Result<Value, Refusal> {
    let is_latest = is_latest(&params)?;
    let mut result = match method {
        "initialize" => begin(&params)?,
        "server/discover" => discovered(),
        "ping" => json!({}),
        "tools/list" => json!({ "tools": tools::described() }),
        "tools/call" => call(target, params).await?,
        _ => return Err(Refusal::new(message::NO_METHOD, format!("there is no method {method}"))),
    };
    if is_latest {
        result["resultType"] = "complete".into();
        if matches!(method, "tools/list" | "server/discover") {
            result["ttlMs"] = FRESH_MILLISECONDS.into();
            result["cacheScope"] = "public".into();
        }
    }
    Ok(result)
}

/// Whether a request is of the revision that begins with nothing.
fn is_latest(params: &Map<String, Value>) -> Result<bool, Refusal> {
    match params.get("_meta").and_then(|meta| meta.get(REVISION)) {
        None => Ok(false),
        Some(revision) if revision == LATEST => Ok(true),
        Some(revision) => {
            let mut refusal =
                Refusal::new(UNSUPPORTED_REVISION, "this revision of the protocol is not spoken");
            refusal.data = json!({ "requested": revision, "supported": [LATEST] });
            Err(refusal)
        }
    }
}

fn begin(params: &Map<String, Value>) -> Result<Value, Refusal> {
    let asked = params.get("protocolVersion").and_then(Value::as_str);
    let asked = asked.ok_or_else(|| Refusal::new(message::INVALID_PARAMS, "protocolVersion is missing"))?;
    // Of a revision that we do not know, the client decides whether our latest will do.
    let agreed = if WITH_BEGINNING.contains(&asked) { asked } else { WITH_BEGINNING[0] };
    Ok(json!({
        "protocolVersion": agreed,
        "capabilities": capabilities(),
        "serverInfo": server(),
        "instructions": INSTRUCTIONS,
    }))
}

fn discovered() -> Value {
    json!({
        "supportedVersions": [LATEST],
        "capabilities": capabilities(),
        "serverInfo": server(),
        "instructions": INSTRUCTIONS,
        "_meta": { "io.modelcontextprotocol/serverInfo": server() },
    })
}

fn capabilities() -> Value {
    json!({ "tools": {} })
}

fn server() -> Value {
    json!({ "name": "resembled", "title": "Photos that resemble", "version": env!("CARGO_PKG_VERSION") })
}

/// Uses a tool. What it could not do is a result, so that the assistant reads why.
async fn call(target: &Target, mut params: Map<String, Value>) -> Result<Value, Refusal> {
    let invalid = |why: String| Refusal::new(message::INVALID_PARAMS, why);
    let name = params.get("name").and_then(Value::as_str).ok_or_else(|| invalid("name is missing".into()))?;
    let tool = Tool::named(name).ok_or_else(|| invalid(format!("there is no tool {name}")))?;
    let arguments = match params.remove("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return Err(invalid("arguments are an object".into())),
    };
    Ok(match tool.call(target, arguments).await {
        Ok(content) => json!({ "content": content, "isError": false }),
        Err(error) => {
            json!({ "content": [{ "type": "text", "text": format!("{error:#}") }], "isError": true })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_agree_on_a_revision_or_the_client_hears_our_latest() {
        let check = |asked: &str, agreed: &str| {
            let params = json!({ "protocolVersion": asked });
            let begun = begin(params.as_object().unwrap()).unwrap();
            assert_eq!(begun["protocolVersion"], agreed);
        };
        WITH_BEGINNING.into_iter().for_each(|revision| check(revision, revision));
        check("2026-07-28", "2025-11-25");
        check("1999-01-01", "2025-11-25");
        assert_eq!(begin(&Map::new()).unwrap_err().code, message::INVALID_PARAMS);
    }

    #[test]
    fn a_request_may_say_which_revision_it_speaks() {
        let check = |params: Value| is_latest(params.as_object().unwrap()).map_err(|refusal| refusal.code);
        assert_eq!(check(json!({})), Ok(false));
        assert_eq!(check(json!({ "_meta": { "progressToken": 1 } })), Ok(false));
        assert_eq!(check(json!({ "_meta": { REVISION: LATEST } })), Ok(true));
        assert_eq!(check(json!({ "_meta": { REVISION: "2031-01-01" } })), Err(UNSUPPORTED_REVISION));
    }
}
