//! Every route with every way it can be asked wrongly, without a socket.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use orch_api::types::ErrorBody;
use serde_json::Value;
use tower::ServiceExt;

use super::BODY_BYTES;
use crate::daemon::{Daemon, Options};
use crate::project::Project;

/// A project without a daemon, and the API of the process that answers in its stead.
struct Fixture {
    daemon: Daemon,
    runtime: tokio::runtime::Runtime,
    _directory: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of the error, which must come in the one shape of errors.
    fn code(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let body: ErrorBody = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        assert!(!body.error.message.is_empty(), "{text}");
        body.error.code
    }
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text =
            "[project]\nname = \"test\"\n[agents.sh]\nadapter = \"shell\"\ncommand = \"true\"\n";
        std::fs::write(directory.path().join("orch.toml"), text).unwrap();
        let project = Project::at(directory.path()).unwrap();
        let daemon =
            Daemon::answer(&project, Options::default(), crate::log::LogSink::silent()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self {
            daemon,
            runtime,
            _directory: directory,
        }
    }

    fn router(&self) -> Router {
        self.daemon.router()
    }

    fn send(&self, request: Request<Body>) -> Answer {
        self.runtime.block_on(async {
            let response = self.router().oneshot(request).await.unwrap();
            let status = response.status();
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            Answer {
                status,
                body: body.to_vec(),
            }
        })
    }

    fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap())
    }

    fn added(&self, body: &str) -> String {
        let answer = self.ask("POST", "/v1/tasks", body.to_owned());
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
        answer.json()["task"]["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn every_route_answers_who_asks_rightly() {
    let it = Fixture::new();
    let id = it.added(r#"{"title":"one"}"#);
    let task = format!("/v1/tasks/{id}");
    let other = format!("/v1/tasks/{}", it.added(r#"{"title":"two"}"#));
    let add = |suffix: &str| format!("{task}/{suffix}");
    let table = [
        ("GET", "/v1/daemon".to_owned(), "", 200),
        ("HEAD", "/v1/status".to_owned(), "", 200),
        ("GET", "/v1/status".to_owned(), "", 200),
        ("POST", "/v1/reload".to_owned(), "", 200),
        ("POST", "/v1/agreed".to_owned(), "", 200),
        ("GET", format!("/v1/resolve/{id}"), "", 200),
        (
            "GET",
            "/v1/events?after=0&limit=5&follow=true".to_owned(),
            "",
            200,
        ),
        (
            "GET",
            "/v1/tasks?status=todo,done&limit=1&agent=sh".to_owned(),
            "",
            200,
        ),
        ("GET", task.clone(), "", 200),
        ("GET", add("why"), "", 200),
        ("PATCH", task.clone(), r#"{"priority":1}"#, 200),
        ("POST", add("retry"), "", 200),
        ("POST", add("cancel"), "", 200),
        ("POST", add("cancel"), "", 200),
        ("POST", add("approve"), "", 409),
        ("POST", add("reject"), r#"{"reason":"no"}"#, 409),
        ("DELETE", other.clone(), "", 200),
        ("GET", other, "", 404),
        (
            "GET",
            format!("/v1/runs?task={id}&agent=sh&limit=10000"),
            "",
            200,
        ),
        ("GET", "/v1/runs/run_0123456789".to_owned(), "", 404),
        ("GET", "/v1/runs/run_0123456789/events".to_owned(), "", 404),
        (
            "GET",
            "/v1/runs/run_0123456789/log?stream=err".to_owned(),
            "",
            404,
        ),
    ];
    for (method, path, body, status) in table {
        let answer = it.ask(method, &path, body);
        let told = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {told}");
    }
}

#[test]
fn a_listing_goes_on_behind_the_last_task_of_the_page_before() {
    let it = Fixture::new();
    let ids: Vec<String> = (0..5)
        .map(|number| it.added(&format!(r#"{{"title":"{number}"}}"#)))
        .collect();
    let page = |path: String| -> Vec<String> {
        let tasks = it.ask("GET", &path, "").json();
        let id = |task: &Value| task["id"].as_str().unwrap().to_owned();
        tasks.as_array().unwrap().iter().map(id).collect()
    };
    let first = page("/v1/tasks?limit=3".to_owned());
    let next = page(format!("/v1/tasks?limit=3&before={}", first[2]));
    let listed: Vec<_> = first.into_iter().chain(next).rev().collect();
    assert_eq!(listed, ids);
    it.ask("DELETE", &format!("/v1/tasks/{}", ids[0]), "");
    // Not an empty page: that would be the end of the list.
    let gone = it.ask("GET", &format!("/v1/tasks?before={}", ids[0]), "");
    assert_eq!(
        (gone.status.as_u16(), gone.code()),
        (404, "not_found".to_owned())
    );
    let gone = it.ask("GET", "/v1/runs?before=run_0123456789", "");
    assert_eq!(
        (gone.status.as_u16(), gone.code()),
        (404, "not_found".to_owned())
    );
}

#[test]
fn what_is_wrong_is_said_in_one_shape() {
    let it = Fixture::new();
    let id = it.added(r#"{"title":"one"}"#);
    let task = format!("/v1/tasks/{id}");
    let reject = format!("{task}/reject");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let table: Vec<(&str, &str, &str, u16, &str)> = vec![
        ("GET", "/v1/nothing", "", 404, "not_found"),
        ("GET", "//", "", 404, "not_found"),
        ("GET", "/v1/resolve/", "", 404, "not_found"),
        ("PUT", "/v1/tasks", "{}", 405, "method_not_allowed"),
        ("TRACE", "/v1/status", "", 405, "method_not_allowed"),
        ("DELETE", "/v1/status", "", 405, "method_not_allowed"),
        ("GET", "/v1/tasks?limit=0", "", 422, "out_of_range"),
        ("GET", "/v1/tasks?limit=10001", "", 422, "out_of_range"),
        ("GET", "/v1/tasks?limit=-1", "", 422, "bad_query"),
        ("GET", "/v1/tasks?limit=1&limit=2", "", 422, "bad_query"),
        ("GET", "/v1/tasks?colour=red", "", 422, "bad_query"),
        ("GET", "/v1/tasks?status=odd", "", 422, "unknown_word"),
        ("GET", "/v1/tasks?agent=%2F", "", 422, "bad_agent_name"),
        ("GET", "/v1/runs?limit=0", "", 422, "out_of_range"),
        ("GET", "/v1/runs?task=tsk_zzzz", "", 404, "not_found"),
        ("GET", "/v1/events?after=x", "", 422, "bad_query"),
        ("GET", "/v1/events?after=-1", "", 422, "bad_query"),
        ("GET", "/v1/tasks/%FF", "", 400, "bad_id"),
        ("GET", "/v1/resolve/%FF", "", 400, "bad_id"),
        ("GET", "/v1/runs/%FF/log", "", 400, "bad_id"),
        ("GET", "/v1/tasks/..%2F..%2Fetc", "", 422, "bad_id"),
        ("GET", "/v1/tasks/%00", "", 422, "bad_id"),
        ("GET", "/v1/tasks/tsk_%25", "", 422, "bad_id"),
        ("POST", "/v1/tasks", "", 400, "not_json"),
        ("POST", "/v1/tasks", "{", 400, "not_json"),
        ("POST", "/v1/tasks", &deep, 422, "bad_body"),
        ("POST", "/v1/tasks", "[]", 422, "bad_body"),
        ("POST", "/v1/tasks", "{}", 422, "bad_body"),
        (
            "POST",
            "/v1/tasks",
            r#"{"title":"a","colour":1}"#,
            422,
            "bad_body",
        ),
        (
            "POST",
            "/v1/tasks",
            r#"{"title":"a","title":"b"}"#,
            422,
            "bad_body",
        ),
        ("POST", "/v1/tasks", r#"{"title":" "}"#, 422, "title_empty"),
        (
            "POST",
            "/v1/tasks",
            r#"{"title":"a\u0000"}"#,
            422,
            "nul_byte",
        ),
        (
            "POST",
            "/v1/tasks",
            r#"{"title":"a","priority":0}"#,
            422,
            "out_of_range",
        ),
        (
            "POST",
            "/v1/tasks",
            r#"{"title":"a","priority":-1}"#,
            422,
            "bad_body",
        ),
        (
            "POST",
            "/v1/tasks",
            r#"{"title":"a","timeout_ms":0}"#,
            422,
            "out_of_range",
        ),
        (
            "POST",
            "/v1/tasks",
            r#"{"title":"a","agent":"nobody"}"#,
            422,
            "no_such_agent",
        ),
        (
            "POST",
            "/v1/tasks",
            r#"{"title":"a","depends_on":["tsk_zzzzz"]}"#,
            404,
            "not_found",
        ),
        ("PATCH", &task, r#"{"max_attempts":0}"#, 422, "out_of_range"),
        ("POST", &reject, r#"{"reason":""}"#, 422, "reason_empty"),
        (
            "POST",
            &reject,
            r#"{"reason":"because"}"#,
            409,
            "illegal_transition",
        ),
    ];
    for (method, path, body, status, code) in table {
        let answer = it.ask(method, path, body.to_owned());
        let told = (answer.status.as_u16(), answer.code());
        assert_eq!(
            told,
            (status, code.to_owned()),
            "{method} {path} {body:.80}"
        );
    }
}

#[test]
fn a_task_is_refused_itself_as_what_it_waits_for() {
    let it = Fixture::new();
    let id = it.added(r#"{"title":"one"}"#);
    let body = format!(r#"{{"depends_on":["{id}"]}}"#);
    let answer = it.ask("PATCH", &format!("/v1/tasks/{id}"), body);
    assert_eq!((answer.status.as_u16(), &*answer.code()), (422, "cycle"));
}

#[test]
fn only_json_is_a_body_and_only_so_much_of_it() {
    let it = Fixture::new();
    let body = r#"{"title":"one"}"#;
    let sent = |kind: Option<&str>, body: Vec<u8>| {
        let request = Request::post("/v1/tasks");
        let request = match kind {
            Some(kind) => request.header("content-type", kind),
            None => request,
        };
        let answer = it.send(request.body(Body::from(body)).unwrap());
        match answer.status {
            StatusCode::CREATED => "created".to_owned(),
            _ => answer.code(),
        }
    };
    assert_eq!(sent(None, body.into()), "not_json");
    assert_eq!(sent(Some("text/plain"), body.into()), "not_json");
    let form = "application/x-www-form-urlencoded";
    assert_eq!(sent(Some(form), body.into()), "not_json");
    let odd = "Application/JSON; charset=utf-8";
    assert_eq!(sent(Some(odd), body.into()), "created");
    let json = Some("application/json");
    assert_eq!(sent(json, b"{\"title\":\"\xff\"}".to_vec()), "not_utf8");
    assert_eq!(sent(json, vec![b' '; BODY_BYTES + 1]), "too_large");
    assert_eq!(sent(json, vec![b' '; BODY_BYTES]), "not_json");
}

#[test]
fn another_version_of_the_interface_is_refused_before_anything_is_done() {
    let it = Fixture::new();
    let request = Request::post("/v1/tasks")
        .header("content-type", "application/json")
        .header(orch_api::VERSION_HEADER, "999")
        .body(Body::from(r#"{"title":"one"}"#))
        .unwrap();
    let answer = it.send(request);
    assert_eq!(
        (answer.status.as_u16(), &*answer.code()),
        (400, "version_mismatch")
    );
    assert_eq!(it.ask("GET", "/v1/tasks", "").json(), serde_json::json!([]));
}

#[test]
fn who_asks_an_orch_that_has_ended_is_told_that_nothing_was_recorded() {
    let it = Fixture::new();
    let router = it.router();
    drop(it.daemon);
    let request = Request::post("/v1/tasks")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"title":"one"}"#))
        .unwrap();
    let response = it.runtime.block_on(router.oneshot(request)).unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}
