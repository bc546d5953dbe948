use std::fs;
use std::path::Path;
use std::sync::Arc;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;

use super::test_networks::{Batch, Builder, int, value};
use super::{Runtime, RuntimeChoice, TextEncoder, TextError};
use crate::models::{Content, Source, TextModel, TextTower};

/// Tokens of the tower.
pub const LENGTH: usize = 6;

/// Embeddings of tokens, one a row: nothing for padding and what is not known, then red, green and blue.
const TABLE: [[f32; 3]; 5] = [[0.0; 3], [0.0; 3], [1.0, -0.2, -0.2], [-0.2, 1.0, -0.2], [-0.2, -0.2, 1.0]];

pub const TOKENIZER: &str = r#"{"version": "1.0", "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0,
    "direction": "Right"}, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"": 0, "?": 1, "red": 2, "green": 3, "blue": 4}}}"#;

/// The sum of the embeddings of all tokens, and each token's own beside it, as exports have it.
pub fn tower(element: DataType) -> Builder {
    let dims = vec![Dim::DimParam("N".to_owned()), Dim::DimValue(LENGTH as i64)];
    let mut builder = Builder::backbone(Batch::Symbol);
    builder.graph.node.clear();
    builder.graph.initializer.clear();
    builder.graph.input = vec![value("input_ids", element, Some(dims))];
    builder.weights("table", &[5, 3], TABLE.as_flattened()).integers("axes", &[1]);
    builder.node("Gather", &["table", "input_ids"], "each", vec![int("axis", 0)]);
    builder.node("ReduceSum", &["each", "axes"], "sum", vec![int("keepdims", 0)]);
    builder.output("each").output("sum");
    builder
}

pub fn text_model(tower: &Builder, tokenizer: &str, output: Option<&str>) -> TextModel {
    let toml =
        format!("file = \"x\"\n{}", output.map_or(String::new(), |name| format!("output = \"{name}\"")));
    let source: Source = toml::from_str(&toml).unwrap();
    TextModel {
        tower: TextTower {
            context_length: LENGTH,
            padding: 0,
            lower_case: true,
            encoder: source.clone(),
            tokenizer: source,
        },
        encoder: Content::in_memory(tower.onnx()),
        tokenizer: Content::in_memory(tokenizer.as_bytes().to_vec()),
        dim: 3,
    }
}

/// What every runtime must give; run by the tests of the runtimes too.
pub fn check(runtime: &Runtime) {
    let model = text_model(&tower(DataType::Int64), TOKENIZER, Some("sum"));
    let mut encoder = TextEncoder::new(runtime, &model).unwrap();
    let mut embed = |text: &str| encoder.embed(text).unwrap().0;
    assert_eq!(embed("red"), TABLE[2]);
    assert_eq!(embed("a Red thing"), TABLE[2], "small letters, as the manifest says");
    let close = |found: Vec<f32>, expected: [f32; 3]| {
        assert!(
            found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6),
            "{found:?}"
        );
    };
    close(embed("red blue"), [0.8, -0.4, 0.8]);
    // Of what is longer only as much counts as there is place for: not the two of the file.
    close(embed("blue blue blue blue blue red green green"), [0.0, -1.2, 4.8]);
    assert_eq!(embed(""), [0.0; 3]);
}

fn tract() -> Arc<Runtime> {
    Runtime::start(RuntimeChoice::Tract, &[]).unwrap()
}

#[test]
fn a_text_is_encoded_by_its_tower() {
    check(&tract());
}

#[test]
fn a_tower_that_is_none_is_refused_with_what_is_wrong() {
    let refused = |tower: &Builder, tokenizer: &str, output: Option<&str>| -> TextError {
        TextEncoder::new(&tract(), &text_model(tower, tokenizer, output)).err().unwrap()
    };
    let whole = tower(DataType::Int64);
    let text = refused(&whole, TOKENIZER, None).to_string();
    assert!(text.contains("outputs each, sum"), "{text}");
    let text = refused(&whole, TOKENIZER, Some("summ")).to_string();
    assert!(text.contains("no tensor `summ`"), "{text}");
    assert!(matches!(refused(&whole, "{}", Some("sum")), TextError::Tokenizer(_)));
    assert!(matches!(
        refused(&whole, TOKENIZER, Some("each")),
        TextError::WrongDim { promised: 3, found: 18 }
    ));
    let text = refused(&tower(DataType::Float), TOKENIZER, Some("sum")).to_string();
    assert!(text.contains("6 tokens (int64)"), "{text}");
    let mut two = tower(DataType::Int64);
    two.graph.input.push(value("mask", DataType::Float, None));
    two.node("Mul", &["sum", "mask"], "masked", vec![]);
    let text = refused(&two, TOKENIZER, Some("masked")).to_string();
    assert!(text.contains("2 inputs (input_ids, mask)"), "{text}");
}

/// The parts that CLIP's tokenizer is made of: small letters, words split by an expression with a look-ahead, bytes as letters,
/// merges, marks at both ends.
#[test]
fn a_tokenizer_of_the_kind_of_clip_is_read() {
    let json = r#"{"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [
            {"id": 7, "content": "<|startoftext|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
            {"id": 8, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"},
             "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
        "post_processor": {"type": "RobertaProcessing", "sep": ["<|endoftext|>", 8], "cls": ["<|startoftext|>", 7],
            "trim_offsets": false, "add_prefix_space": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<|endoftext|>", "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false,
            "vocab": {"c": 0, "a": 1, "t": 2, "t</w>": 3, "at</w>": 4, "cat</w>": 5, "a</w>": 6,
                "<|startoftext|>": 7, "<|endoftext|>": 8},
            "merges": ["a t</w>", "c at</w>"]}}"#;
    let mut model = text_model(&tower(DataType::Int64), TOKENIZER, Some("sum"));
    model.tower.lower_case = false;
    model.tokenizer = Content::in_memory(json.as_bytes().to_vec());
    let tokens = |text: &str| super::text::tokens_of(&model, text).unwrap();
    assert_eq!(tokens("A  Cat"), [7, 6, 5, 8, 0, 0]);
    assert_eq!(tokens("cat cat cat cat cat cat"), [7, 5, 5, 5, 5, 8], "the mark at the end stays");
}

/// The tokenizer of CLIP itself, where this machine has it.
#[test]
fn the_real_tokenizer_of_clip_gives_its_known_tokens() {
    let dir = std::env::var_os("RESEMBLED_MODEL_DIR").unwrap_or_else(|| "../shared/models".into());
    let file = Path::new(&dir).join("clip_vit_b32_256_tokenizer.json");
    let Ok(json) = fs::read(&file) else { return eprintln!("SKIPPED: no {}", file.display()) };
    let mut model = text_model(&tower(DataType::Int64), TOKENIZER, Some("sum"));
    model.tokenizer = Content::in_memory(json);
    let tokens = super::text::tokens_of(&model, "a photo of a cat").unwrap();
    assert_eq!(tokens[..5], [49406, 320, 1125, 539, 320]);
}
