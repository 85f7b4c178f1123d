//! `lanyard grant`, and the other commands with grants: those of an admin, and those of a team's.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::dev::Dev;
use crate::support::process::text;

const GRANT: &str = "kind: Grant\nname: shop\nadmins: [spiffe://dev.internal/workload]\n\
                     spiffe_ids: ['spiffe://dev.internal/shop/*']\naudiences: ['https://orders.dev.internal']\n\
                     scope: orders.read\nowners: [team-shop]\n";
const CLIENT: &str = "client_id: spiffe://dev.internal/shop/basket\ntoken_endpoint_auth_method: spiffe_x509\n\
                      scope: orders.read\naudience: ['https://orders.dev.internal']\nowner: team-shop\n";
const BASKET: &str = "spiffe://dev.internal/shop/basket";

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    text(&path).to_owned()
}

#[test]
fn an_admin_applies_a_grant_and_the_team_registers_within_it() {
    let Dev { files, .. } = &Dev::start();
    let folder = tempfile::tempdir().unwrap();
    let [grant, client, beyond] = [("grant.yaml", GRANT), ("client.yaml", CLIENT), ("beyond.yaml", "")]
        .map(|(name, content)| write(folder.path(), name, content));
    let [admin, team] = ["admin", "workload"].map(|who| move |arguments: &[&str]| files.run(who, arguments));
    team(&["apply", "-f", &client]).refused("(WRONG_ROLE)", "role Admin");
    assert_eq!(admin(&["apply", "-f", &grant, "--dry-run"]).ok(), "shop would be created\n");
    assert_eq!(admin(&["apply", "-f", &grant, "--reason", "the shop's own"]).ok(), "shop created\n");
    assert_eq!(admin(&["grant", "apply", "-f", &grant]).ok(), "shop unchanged\n");

    assert_eq!(team(&["apply", "-f", &client]).ok(), format!("{BASKET} created\n"));
    write(folder.path(), "beyond.yaml", &CLIENT.replace("orders.read", "orders.write"));
    team(&["apply", "-f", &beyond]).refused("(NOT_GRANTED)", "lanyard grant get");
    write(folder.path(), "beyond.yaml", &CLIENT.replace("team-shop", "team-billing"));
    let refused = team(&["client", "apply", "-f", &beyond]);
    refused.refused("by owner lies beyond the grant 'shop'", "lanyard whoami");
    assert_eq!(team(&["client", "list", "-o", "name"]).ok(), format!("{BASKET}\n"));
    assert!(team(&["client", "get", BASKET]).ok().contains("owner: team-shop\n"));
    assert!(team(&["history", "client", BASKET]).ok().contains("created by spiffe://dev.internal/workload"));
    team(&["client", "get", "selfsigned"]).refused("(NOT_GRANTED)", "");
    team(&["grant", "apply", "-f", &grant]).refused("(WRONG_ROLE)", "role Admin");
    write(folder.path(), "beyond.yaml", &GRANT.replace("orders.read", "orders.write"));
    team(&["apply", "-f", &beyond]).refused("(WRONG_ROLE)", "role Admin");
    team(&["grant", "delete", "shop"]).refused("(WRONG_ROLE)", "role Admin");

    let whoami = team(&["whoami", "-o", "json"]).json(0);
    assert_eq!((&whoami["roles"], &whoami["grants"]), (&json!(["workload", "team"]), &json!(["shop"])));
    assert!(team(&["whoami"]).ok().contains("grants       shop\n"));
    assert!(team(&["grant", "list"]).ok().starts_with("NAME  ADMINS"));
    let printed = team(&["grant", "get", "shop"]).ok();
    let printed = write(folder.path(), "printed.yaml", &printed);
    assert_eq!(admin(&["grant", "apply", "-f", &printed]).ok(), "shop unchanged\n");

    let all = write(folder.path(), "all.yaml", &admin(&["export"]).ok());
    assert!(admin(&["apply", "-f", &all]).ok().lines().all(|line| line.ends_with(" unchanged")));
    assert_eq!(admin(&["diff", "-f", &all]).code, Some(0));
    assert_eq!(admin(&["apply", "-f", &beyond]).ok(), "shop updated\n");
    let shown = admin(&["history", "grant", "shop"]).ok();
    assert!(
        shown.contains("(the shop's own)") && shown.contains("scope: \"orders.read\" -> \"orders.write\""),
        "{shown}"
    );
    assert!(admin(&["rollback", "grant", "shop@1"]).ok().starts_with("shop updated\n"));
    assert_eq!(admin(&["grant", "delete", "shop"]).ok(), "shop deleted\n");
    team(&["client", "list"]).refused("(WRONG_ROLE)", "");
    assert!(admin(&["client", "get", BASKET]).ok().contains("team-shop"));
}
