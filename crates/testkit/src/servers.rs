//! Rows of servers as orders write them, without machines: for what is about money and needs many of them.

use bulut_model::run_mode::RunMode;
use bulut_model::{AccountId, NodeId};
use bulut_store::servers::New;
use bulut_store::{Session, images, packages, regions};

/// A server of this package, named after it, with the image `tiny`.
pub async fn row(s: &impl Session, account: AccountId, node: NodeId, package: &str) -> New {
    let package = packages::find(s, package).await.expect("packages").expect("the package");
    let image = images::find(s, "tiny").await.expect("images").expect("the image");
    let region = regions::find(s, "ist2").await.expect("regions").expect("the region");
    New {
        account,
        region: region.id,
        node,
        package: package.id,
        image: image.id,
        name: package.slug.clone(),
        hostname: package.slug,
        cpu: package.cpu,
        memory_mib: package.memory_mib,
        disk_gib: package.disk_gib,
        traffic_tb: package.traffic_tb,
        instance_id: "i".into(),
        image_files: image.files.expect("the image has files"),
        ssh_keys: Vec::new(),
        sealed_password: None,
        user_data: None,
        recipe: None,
        fresh_identity: false,
        in_pool: false,
        is_named: true,
        run_mode: RunMode::Normal,
    }
}
