//! `token-exchange`: another's token for one of ours, read anew each time, checked when it comes.

use super::{bearer, parameter, silent, staged};
use crate::harness::canary;
use crate::harness::issuer::{Issuer, Reply};
use crate::harness::look_again;
use crate::harness::stage::EVIL;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn credential(issuer: &Issuer) -> String {
    format!(
        "grant = \"token-exchange\"\ntoken_url = {:?}\nsubject_token = {{ file = \"subject.jwt\" }}\n\
         actor_token = {{ file = \"actor.jwt\" }}\nactor_token_type = \"access_token\"\n\
         audience = \"orders\"",
        issuer.token_url()
    )
}

fn answer(token: &str, kind: &str, issued: &str) -> Reply {
    let body = serde_json::json!({
        "access_token": token, "token_type": kind, "issued_token_type": issued, "expires_in": 1,
    });
    Reply::json(200, &body.to_string())
}

#[tokio::test]
async fn a_projected_token_is_read_anew() {
    let issuer = Issuer::start().await;
    let (first, second, actor) = (canary("subject"), canary("subject"), canary("actor"));
    let files = [("subject.jwt", first.as_str()), ("actor.jwt", actor.as_str())];
    let stage = staged(&credential(&issuer), "", &files).await;
    let tokens = [canary("vkt"), canary("vkt")];
    issuer.reply(answer(&tokens[0], "Bearer", ACCESS_TOKEN));
    assert_eq!(bearer(&stage, "/x").await, tokens[0]);
    let call = issuer.call(0).await;
    let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
    assert_eq!(parameter(&call, "grant_type"), grant);
    assert_eq!(parameter(&call, "subject_token"), first);
    let jwt = "urn:ietf:params:oauth:token-type:jwt";
    assert_eq!(parameter(&call, "subject_token_type"), jwt);
    assert_eq!(parameter(&call, "actor_token"), actor);
    assert_eq!(parameter(&call, "actor_token_type"), ACCESS_TOKEN);
    assert_eq!(parameter(&call, "audience"), "orders");

    std::fs::write(stage.running().unwrap().home.path("subject.jwt"), &second).unwrap();
    issuer.reply(answer(&tokens[1], "Bearer", ACCESS_TOKEN));
    // The first lives a second: until it has ended it may serve.
    while bearer(&stage, "/x").await == tokens[0] {
        look_again().await;
    }
    assert_eq!(parameter(&issuer.call(1).await, "subject_token"), second);
    silent(&stage, &[first, second, actor, tokens[0].clone(), tokens[1].clone()]).await;
}

#[tokio::test]
async fn what_was_not_asked_for_is_refused() {
    let refresh = "urn:ietf:params:oauth:token-type:refresh_token";
    for (kind, issued) in
        [("N_A", refresh), ("Bearer", refresh), ("N_A", ACCESS_TOKEN), ("DPoP", ACCESS_TOKEN)]
    {
        let issuer = Issuer::start().await;
        let files = [("subject.jwt", "s"), ("actor.jwt", "a")];
        let stage = staged(&credential(&issuer), "", &files).await;
        issuer.reply(answer(&canary("vkt"), kind, issued));
        let answer = stage.get(EVIL, "/x", "").await.unwrap();
        assert_eq!(answer.status(), 502, "{kind} {issued}");
        assert!(stage.evil.requests().is_empty(), "{kind} {issued}");
    }
}
