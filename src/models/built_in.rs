//! The models that every executable knows. Their folders are `models/<name>/`.

/// A manifest in the executable, and the network itself where that is in it too.
#[derive(Clone, Copy)]
pub(super) struct BuiltIn {
    /// Text of the manifest.
    pub manifest: &'static str,
    /// Bytes of the manifest's first source.
    pub network: Option<&'static [u8]>,
    /// An ONNX file with the classifier of the network's embeddings, where the network itself has none.
    pub classifier: Option<&'static [u8]>,
}

/// The model that needs no file.
pub(super) const FALLBACK: &str = "builtin";

/// All of them.
pub(super) const BUILT_IN: &[BuiltIn] = &[
    in_files(include_str!("../../models/efficientnet_lite2/manifest.toml")),
    in_files(include_str!("../../models/efficientnet_lite1/manifest.toml")),
    in_files(include_str!("../../models/efficientnet_lite0/manifest.toml")),
    in_files(include_str!("../../models/efficientnet_lite0_160/manifest.toml")),
    in_files(include_str!("../../models/mobilenet_v2/manifest.toml")),
    in_files(include_str!("../../models/clip_vit_b32_256/manifest.toml")),
    in_files(include_str!("../../models/siglip2_base_256/manifest.toml")),
    BuiltIn {
        manifest: include_str!("../../models/builtin/manifest.toml"),
        network: Some(include_bytes!("../../models/builtin/encoder.onnx")),
        classifier: Some(include_bytes!("../../models/builtin/classifier.onnx")),
    },
];

/// A network that is in files.
const fn in_files(manifest: &'static str) -> BuiltIn {
    BuiltIn { manifest, network: None, classifier: None }
}
