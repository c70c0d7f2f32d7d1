//! What people do on the pages, in Chromium: `web/e2e` walks through them. Anything in a browser's console, a request to
//! elsewhere or something that a page's policy refuses fails it.

use std::time::Duration;

use tokio::process::Command;

use crate::{
    clients::{Program, file},
    harness::{Place, Server, address_to_keep},
};

/// How long a walk may take until the next line that it prints.
const WALK: Duration = Duration::from_secs(300);

/// A walk through the pages of a server.
fn walk(script: &str, server: &Server) -> Program {
    let node = file("web/node_modules/.bin/node");
    assert!(
        node.exists(),
        "scripts/build --web installs what the browser walks need"
    );
    let mut command = Command::new(node);
    command.arg(file("web/e2e").join(script)).arg(server.url(""));
    Program::start(&mut command).patient(WALK)
}

#[tokio::test]
async fn a_newcomer_talks_to_another_while_the_server_is_killed_and_comes_back() {
    let place = Place::new().await;
    let address = address_to_keep();
    let node = || Server::options().place(&place).at(address);
    let server = node().start().await;
    let mut newcomer = walk("chat.mjs", &server);
    assert_eq!(newcomer.line().await, "RESTART");
    drop(server);
    let _server = node().start().await;
    newcomer.say("").await;
    assert_eq!(newcomer.line().await, "chat: all is well");
    newcomer.finish().await;
}

#[tokio::test]
async fn pages_explain_and_let_developers_try() {
    let server = Server::start().await;
    let mut visitor = walk("pages.mjs", &server);
    assert_eq!(visitor.line().await, "pages: all is well");
    visitor.finish().await;
}
