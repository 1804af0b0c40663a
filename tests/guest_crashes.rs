//! The control plane dies at every step of a create; the create ends all the same, and guests never notice.

use bulut::operations::definition;
use bulut_model::operation::OperationKind;
use bulut_testkit::program::{Program, eventually};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_bulut");
const BOOT: Duration = Duration::from_secs(120);
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

#[tokio::test]
async fn a_guest_keeps_running_while_its_control_plane_dies_at_every_step_of_another_create() {
    let mut cloud =
        Program::start(BINARY, "tiny", None, &[("BULUT_NETWORKING", "user"), ("BULUT_LEASE_MS", "1500")])
            .await;
    let fingerprint = cloud.add_key().await;
    let (first, ordered) = cloud.order("tiny", &[("ssh_keys", &fingerprint)]).await;
    cloud.succeeded(&ordered).await;
    let boot = cloud.says(first, BOOT_ID, BOOT).await;

    let steps = definition(OperationKind::ServerCreate).steps;
    let points = steps.iter().flat_map(|step| ["before", "after"].map(|moment| (step.name, moment)));
    for (step, moment) in points {
        let point = format!("server_create.{step}.{moment}");
        cloud.stop();
        cloud.set(&[("BULUT_FAULT", &format!("{point}=pause"))]);
        cloud.run().await;
        let (id, ordered) = cloud.order("tiny", &[("name", "web2")]).await;
        let standing = format!("point=\"{point}\"");
        eventually(&format!("it stands still at {point}"), Duration::from_secs(60), || async {
            cloud.log().contains(&standing).then_some(())
        })
        .await;
        cloud.kill();
        cloud.set(&[("BULUT_FAULT", "")]);
        cloud.run().await;
        cloud.succeeded(&ordered).await;
        assert_eq!(cloud.machines().len(), 2, "one guest each, at {point}");
        cloud.state_is(first, "Running").await;
        cloud.destroy(id).await;
        assert_eq!(cloud.machines().len(), 1, "at {point}");
    }
    assert_eq!(cloud.says(first, BOOT_ID, BOOT).await, boot, "the first guest never noticed");
    // It is re-attached, not only left alone: power works.
    cloud.succeeded(&cloud.data("POST", &format!("/v1/server/{first}/stop"), &[]).await).await;
    cloud.destroy(first).await;
    assert_eq!(cloud.leftovers(), Vec::<std::path::PathBuf>::new());
}
