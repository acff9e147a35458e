//! Every answer that anybody gets is the answer of a model that does one thing at a time.
//!
//! Goal: threads that reserve, release and buy at once, in both modes and mixed, blocking and as tasks, are
//! told exactly what a plain model of under a hundred lines says when it is asked the same questions one
//! by one in the order of the log: events, seats, prices, causes and versions. Whoever was answered before
//! another asked has the lower position. An answer that was not stored is right for a version that was
//! the newest while it was made.
//!
//! Method: `model/spec.rs` is written from the specification, in labels; `model/run.rs` runs seeded
//! workloads on real threads and stamps each call's begin and end from one counter; `model/check.rs` judges.
//! The seed is printed with a failure; what the threads do is given by it, how they meet is not. The last
//! tests doctor true runs, and the judge must notice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "model/check.rs"]
mod check;
#[path = "model/run.rs"]
mod run;
#[path = "model/spec.rs"]
mod spec;

use check::{Entries, Response, check};
use run::{Plan, run};
use spec::{Answer, Ask};

fn judge(plan: Plan) {
    let (responses, entries) = run(plan);
    assert!(responses.len() > plan.threads * plan.steps / 2, "{plan:?}: too few answers");
    if let Err(error) = check(&responses, &entries) {
        panic!("{plan:?}: {error}");
    }
}

fn plans(mode: Option<usize>) -> impl Iterator<Item = Plan> {
    (1..=4).flat_map(move |seed| {
        [Some(true), Some(false), None].map(|recorded| Plan {
            seed,
            threads: 2 + 2 * (seed as usize % 4),
            steps: 80,
            mode,
            recorded,
        })
    })
}

#[test]
fn pessimistic_callers_get_the_models_answers() {
    plans(Some(0)).for_each(judge);
}

#[test]
fn optimistic_callers_get_the_models_answers() {
    plans(Some(1)).for_each(judge);
}

#[test]
fn mixed_callers_get_the_models_answers() {
    plans(None).for_each(judge);
}

/// A true run, changed by `doctor`; true itself.
fn doctored(seed: u64, doctor: impl FnOnce(&mut Vec<Response>, &mut Entries)) -> Result<(), String> {
    let plan = Plan { seed, threads: 4, steps: 80, mode: None, recorded: None };
    let (mut responses, mut entries) = run(plan);
    check(&responses, &entries).unwrap();
    responses.sort_by_key(|response| response.position.unwrap_or(u64::MAX));
    doctor(&mut responses, &mut entries);
    check(&responses, &entries)
}

fn noticed(result: Result<(), String>, as_what: &str) {
    let error = result.expect_err("a doctored run passed");
    assert!(error.contains(as_what), "noticed as something else: {error}");
}

#[test]
fn two_swapped_answers_are_noticed() {
    noticed(
        doctored(11, |responses, entries| {
            // Two reservations of different seats, each told the other's, and so it stands in the log.
            let won: Vec<usize> = (0..responses.len())
                .filter(|index| matches!(responses[*index].answer, Answer::Reserved(..)))
                .collect();
            let (one, other) =
                (won[0], *won.iter().find(|it| responses[**it].answer != responses[won[0]].answer).unwrap());
            let answer = responses[one].answer.clone();
            responses[one].answer = std::mem::replace(&mut responses[other].answer, answer);
            for response in [&responses[one], &responses[other]] {
                entries.get_mut(&response.position.unwrap()).unwrap().2 = response.answer.clone();
            }
        }),
        "the model answers",
    );
}

#[test]
fn an_invented_double_sale_is_noticed() {
    noticed(
        doctored(12, |responses, entries| {
            let taken = |response: &&mut Response| match (&response.ask, &response.answer) {
                (Ask::Reserve { .. }, Answer::No(why)) => {
                    response.position.is_some() && why.iter().all(|(_, why)| *why == "seat_reserved")
                }
                _ => false,
            };
            let response = responses.iter_mut().find(taken).expect("somebody was refused");
            let Ask::Reserve { who, seats } = &response.ask else { return };
            response.answer = Answer::Reserved(*who, seats.clone(), 0);
            entries.get_mut(&response.position.unwrap()).unwrap().2 = response.answer.clone();
        }),
        "seat_reserved",
    );
}

#[test]
fn a_lost_answer_is_noticed() {
    noticed(
        doctored(13, |responses, _| {
            responses.remove(7);
        }),
        "position 8 was given to nobody or twice",
    );
    noticed(
        doctored(13, |_, entries| {
            entries.pop_last();
        }),
        "the log holds None",
    );
}

#[test]
fn a_wrong_version_is_noticed() {
    noticed(doctored(14, |responses, _| responses[20].version += 1), "the model is at version");
}

#[test]
fn an_order_against_time_is_noticed() {
    noticed(
        doctored(15, |responses, _| {
            // The first in the log is asked after everybody else was answered.
            let end = responses.iter().map(|response| response.ended).max().unwrap();
            (responses[0].began, responses[0].ended) = (end + 1, end + 2);
        }),
        "was told before this was asked",
    );
}

#[test]
fn a_stale_answer_is_noticed() {
    let last_unrecorded = |responses: &mut Vec<Response>| {
        let index =
            responses.iter().rposition(|response| response.position.is_none() && response.version > 1);
        index.expect("half of them store no rejections")
    };
    noticed(
        doctored(16, |responses, _| {
            let index = last_unrecorded(responses);
            responses[index].version = 0;
        }),
        "decided outside of",
    );
    noticed(
        doctored(16, |responses, _| {
            let index = last_unrecorded(responses);
            responses[index].answer = Answer::No(vec![("A1".into(), "not so")]);
        }),
        "not stored",
    );
}
