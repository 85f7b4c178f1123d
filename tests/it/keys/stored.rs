//! The records of keys: what is read, and what is refused.

use lanyard::authority::keys::KeyRecord;
use lanyard::authority::keys::KeyRevocation;
use lanyard::authority::keys::KeyStage;
use lanyard::authority::keys::SealError;
use lanyard::authority::keys::SigningAlgorithm;
use serde_json::Value;
use serde_json::json;

use crate::support::NOW;
use crate::support::keys::new_record;
use crate::support::keys::sealer;

fn printed(record: &KeyRecord) -> Value {
    serde_json::from_slice(&record.to_bytes().unwrap()).unwrap()
}

fn read(record: &Value) -> Result<KeyStage, SealError> {
    KeyRecord::from_bytes(record.to_string().as_bytes()).map(|record| record.stage)
}

#[test]
fn each_state_is_read_as_it_was_written() {
    let (record, _) = new_record(&sealer(1), SigningAlgorithm::Es256, NOW);
    let revocation = KeyRevocation { at: NOW, by: "somebody".to_owned(), reason: "a reason".to_owned() };
    for (stage, schema, state) in [
        (KeyStage::ByAge, 1, None),
        (KeyStage::Next, 2, Some("next")),
        (KeyStage::Active { since: NOW }, 2, Some("active")),
        (KeyStage::Retired { activated: Some(NOW), since: NOW }, 2, Some("retired")),
        (KeyStage::Retired { activated: None, since: NOW }, 2, Some("retired")),
        (KeyStage::Revoked(revocation), 2, Some("revoked")),
    ] {
        let record = printed(&record.in_stage(stage.clone()));
        assert_eq!(record["schema"], schema);
        assert_eq!(record.get("state").and_then(Value::as_str), state);
        assert_eq!(record.get("sealed").is_some(), state != Some("revoked"));
        assert_eq!(read(&record), Ok(stage));
    }
}

#[test]
fn a_record_with_a_member_too_many_or_too_few_for_its_state_is_not_read() {
    let (record, _) = new_record(&sealer(1), SigningAlgorithm::Es256, NOW);
    let revocation = KeyRevocation { at: NOW, by: "somebody".to_owned(), reason: "a reason".to_owned() };
    let stages = [
        KeyStage::ByAge,
        KeyStage::Next,
        KeyStage::Active { since: NOW },
        KeyStage::Retired { activated: Some(NOW), since: NOW },
        KeyStage::Revoked(revocation),
    ];
    let all = [
        ("schema", json!(2)),
        ("state", json!("next")),
        ("activate_time", json!(1)),
        ("retire_time", json!(1)),
        ("revoke_time", json!(1)),
        ("revoked_by", json!("x")),
        ("reason", json!("x")),
        ("sealed", json!("AAAA")),
    ];
    for stage in stages {
        let good = printed(&record.in_stage(stage.clone()));
        for (member, value) in &all {
            let mut changed = good.clone();
            if changed.as_object_mut().unwrap().remove(*member).is_none() {
                changed[*member] = value.clone();
            }
            // When a retired key began to sign need not be known.
            let optional = matches!(stage, KeyStage::Retired { .. }) && *member == "activate_time";
            assert_eq!(read(&changed).is_ok(), optional, "{stage:?} {member}");
        }
        for schema in [0, 3] {
            let mut changed = good.clone();
            changed["schema"] = json!(schema);
            assert_eq!(read(&changed), Err(SealError::Unreadable));
        }
    }
}
