//! `demo`: the whole story on one machine, offline. A real issuer, a real API over TLS, the real
//! daemon, an unmodified tool: placeholder in, token out.
//!
//! `world` starts and ends everything, `steps` are the story, `story` tells it, `tool` is curl or
//! what stands in for it; `issuer`, `api` and `pki` are the two parties that aren't ours.

mod api;
mod issuer;
mod net;
mod own_client;
pub(super) mod pki;
mod road;
mod steps;
mod story;
mod tool;
pub(super) mod world;

use std::time::Instant;

use serde_json::json;

use self::issuer::LIFE_S;
use self::pki::HOST;
use self::story::Story;
use self::tool::DemoTool;
use self::world::{KEY_VARIABLE, World};
use super::args::Json;
use super::child::Signals;
use super::failure::{Exit, Failure};
use super::{context, printer};

pub(super) fn run(args: &Json) -> Result<(), Failure> {
    context::runtime()?.block_on(async {
        let mut signals = Signals::catch()?;
        // Ctrl-C drops the world, and with it the daemon and all files.
        tokio::select! {
            result = tell(args.json) => result,
            signal = signals.next() => Err(Failure::silent(Exit::Child(
                u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX),
            ))),
        }
    })
}

async fn tell(json: bool) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut story = Story::new(json);
    story.say("Valetkey, the whole story on this machine; nothing leaves it.")?;
    let tool = DemoTool::find().await;
    let world = World::start(LIFE_S).await?;
    introduce(&story, &world, &tool)?;
    let told = play(&mut story, &world, &tool).await;
    // Whatever came of it, nothing stays behind.
    let ended = world.end().await;
    told?;
    ended?;
    let seconds = begun.elapsed().as_secs_f64();
    if json {
        printer::json(&json!({
            "ok": story.is_well(),
            "tool": tool.name(),
            "seconds": (seconds * 10.0).round() / 10.0,
            "steps": story.steps(),
        }))?;
    }
    let (well, all) = story.tally();
    story.say(&format!(
        "\n{well} of {all} steps as told, in {seconds:.1} s; all of it is cleaned up\n\
         next: valetkey init"
    ))?;
    if story.is_well() { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

fn introduce(story: &Story, world: &World, tool: &DemoTool) -> Result<(), Failure> {
    story.say(&format!(
        "   issuer       {}: client credentials, JWTs of {LIFE_S} s\n   \
            API          https://{HOST}: verifies such a JWT\n   \
            proxy        {}: valetkey serve\n   \
            tool         {}; all it has is {KEY_VARIABLE}",
        world.issuer.url(),
        world.session.proxy,
        tool.name(),
    ))
}

async fn play(story: &mut Story, world: &World, tool: &DemoTool) -> Result<(), Failure> {
    story.tell(steps::straight(world, tool).await?)?;
    story.tell(steps::through(world, tool).await?)?;
    story.tell(steps::refused(world, tool).await?)?;
    story.tell(steps::renewed(world, tool).await?)?;
    story.tell(steps::audited(world).await?)
}
