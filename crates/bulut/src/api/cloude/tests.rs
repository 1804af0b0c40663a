//! The description of the dialect, pinned: a change to it is a change to what clients may rely on.

use super::*;
use crate::api::failure::Failure;
use bulut_model::Error as ModelError;
use bulut_model::error::Kind;
use std::collections::{BTreeSet, HashSet};

#[test]
fn the_description_is_pinned() {
    let mut document = openapi();
    document["info"]["version"] = "0".into();
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!(document) });
}

#[test]
fn the_description_refers_only_to_what_it_holds() {
    let document = openapi();
    let mut pending = vec![&document];
    let mut seen = 0;
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.trim_start_matches('#');
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                    seen += 1;
                }
                pending.extend(members.values());
            }
            Value::Array(values) => pending.extend(values),
            _ => {}
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn operation_ids_are_unique_and_path_parameters_described() {
    let document = openapi();
    let mut ids = HashSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
            let in_path =
                operation["parameters"].as_array().unwrap().iter().filter(|it| it["in"] == "path").count();
            assert_eq!(in_path, path.matches('{').count(), "{path}");
        }
    }
}

#[test]
fn every_failure_is_described_with_its_status_and_its_word() {
    let kinds = [
        Kind::NotFound,
        Kind::AlreadyExists,
        Kind::Invalid { field: "name".into() },
        Kind::Conflict,
        Kind::Forbidden,
        Kind::Unauthenticated,
        Kind::Quota,
        Kind::Funds,
        Kind::Capacity,
        Kind::RateLimited { retry_after_s: 1 },
        Kind::Unavailable,
        Kind::Internal,
    ];
    let of_http = [Failure::UnknownPath, Failure::MethodNotAllowed, Failure::TooLarge(1), Failure::TooSlow];
    let of_domain = kinds.into_iter().map(|kind| Failure::Domain(ModelError::new(kind, "No.")));
    let told: BTreeSet<(u16, &str)> = of_domain
        .chain(of_http)
        .map(|failure| error::status_and_word(&failure))
        .map(|(status, word)| (status.as_u16(), word))
        .collect();
    let described = description::REFUSALS;
    let described = described.iter().flat_map(|it| it.words.iter().map(|word| (it.status, *word)));
    assert_eq!(told, described.collect());
}
