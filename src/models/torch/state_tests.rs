use proptest::prelude::*;

use super::*;

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn int(number: usize) -> Vec<u8> {
    [b"\x8a\x08", &(number as i64).to_le_bytes()[..]].concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

/// One tensor's place in a pickle.
fn described(storage: &str, class: &str, stored: usize, shape: &[usize], stride: &[usize]) -> Vec<u8> {
    let class = format!("ctorch\n{class}\n").into_bytes();
    let storage = tuple(&[text("storage"), class, text(storage), text("cpu"), int(stored), b"N".to_vec()]);
    let numbers = |numbers: &[usize]| tuple(&numbers.iter().map(|&number| int(number)).collect::<Vec<_>>());
    let hooks = b"ccollections\nOrderedDict\n)R".to_vec();
    let storage = [&storage[..], b"Q"].concat();
    let arguments = [storage, int(0), numbers(shape), numbers(stride), b"\x89".to_vec(), hooks];
    [&b"ctorch._utils\n_rebuild_tensor_v2\n"[..], &tuple(&arguments), b"R"].concat()
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// Writes what `torch.save(state_dict)` of PyTorch 1.5 writes.
pub(in crate::models) fn checkpoint(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let mut items = Vec::new();
    for (number, (name, shape, values)) in tensors.iter().enumerate() {
        items.extend(text(name));
        items.extend(described(&number.to_string(), "FloatStorage", values.len(), shape, &row_major(shape)));
    }
    items.extend(text("counter"));
    items.extend(described("counter", "LongStorage", 1, &[], &[]));
    let names: Vec<u8> = (0..tensors.len()).flat_map(|number| text(&number.to_string())).collect();
    let mut storages = Vec::new();
    for (_, _, values) in tensors {
        storages.extend((values.len() as u64).to_le_bytes());
        storages.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    storages.extend([1_u64.to_le_bytes(), 7_u64.to_le_bytes()].concat());
    written(&items, &[&names[..], &text("counter")].concat(), &storages)
}

fn written(items: &[u8], names: &[u8], storages: &[u8]) -> Vec<u8> {
    let head = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}(";
    let dict = b"\x88u.\x80\x02ccollections\nOrderedDict\n)R(";
    // The attribute `_metadata` that state dicts have.
    let state = [b"u}", &text("_metadata")[..], b"}sb.\x80\x02]("].concat();
    [head, &text("little_endian")[..], dict, items, &state, names, b"e.", storages].concat()
}

fn two() -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let values = |count: u8| (0..count).map(f32::from).collect();
    vec![("a".to_owned(), vec![2, 3], values(6)), ("b.c".to_owned(), vec![1], values(1))]
}

#[test]
fn tensors_come_back_as_they_were_written() {
    let bytes = checkpoint(&two());
    let mut state = StateDict::read(&bytes).unwrap();
    assert_eq!(state.take("a", &[2, 3]).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert!(matches!(state.take("a", &[2, 3]), Err(StateError::Missing(name)) if name == "a"));
    assert_eq!(state.take("b.c", &[1]).unwrap(), [0.0]);
    state.finish().unwrap();
}

#[test]
fn a_transposed_tensor_is_read_in_its_own_order() {
    let tensor = described("s", "FloatStorage", 6, &[3, 2], &[1, 3]);
    let storage: Vec<u8> = (0..6_u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    let storage = [&6_u64.to_le_bytes()[..], &storage].concat();
    let bytes = written(&[&text("t")[..], &tensor].concat(), &text("s"), &storage);
    assert_eq!(StateDict::read(&bytes).unwrap().take("t", &[3, 2]).unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
}

#[test]
fn another_network_is_told_by_its_tensors() {
    let bytes = checkpoint(&two());
    let mut state = StateDict::read(&bytes).unwrap();
    let error = state.take("a", &[3, 2]).unwrap_err();
    assert_eq!(error.to_string(), "the tensor `a` is [2, 3], where [3, 2] is needed");
    assert!(matches!(state.take("counter", &[]), Err(StateError::Malformed(_))));
    assert!(matches!(state.finish(), Err(StateError::Left(names)) if names == ["b.c"]));
}

#[test]
fn what_is_no_plain_tensor_is_refused() {
    let check = |tensor: &[u8], reason: &str| {
        let bytes = written(&[&text("t")[..], tensor].concat(), &text("s"), &[0; 8 + 4 * 6]);
        let error = StateDict::read(&bytes).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    check(&described("s", "FloatStorage", 6, &[2, 3], &[3]), "no plain tensor");
    check(&described("s", "HalfStorage", 6, &[6], &[1]), "torch.HalfStorage");
    check(&int(4), "no plain tensor");
    check(&described("s", "FloatStorage", 6, &[6], &[1]), "another size");
    let ends = |stored: usize, shape: &[usize]| {
        let mut bytes = (stored as u64).to_le_bytes().to_vec();
        bytes.extend([0; 24]);
        let tensor = described("s", "FloatStorage", stored, shape, &row_major(shape));
        let written = written(&[&text("t")[..], &tensor].concat(), &text("s"), &bytes);
        StateDict::read(&written).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(ends(6, &[2, 3]), Ok(()));
    assert!(ends(6, &[7]).unwrap_err().contains("past its storage"));
    assert!(ends(6, &[1 << 30, 1 << 30, 1 << 30]).unwrap_err().contains("past its storage"));
    // Strides of 0 would make much of little.
    let repeated = described("s", "FloatStorage", 6, &[1 << 40], &[0]);
    let repeated = written(
        &[&text("t")[..], &repeated].concat(),
        &text("s"),
        &[&6_u64.to_le_bytes()[..], &[0; 24]].concat(),
    );
    assert!(StateDict::read(&repeated).unwrap_err().to_string().contains("past its storage"));
    assert!(ends(5, &[5]).unwrap_err().contains("follows"));
    assert!(ends(7, &[7]).unwrap_err().contains("too early"));
}

proptest! {
    #[test]
    fn damage_never_panics(at in 0_usize..1000, byte: u8, cut in 0_usize..1000) {
        let mut bytes = checkpoint(&two());
        let length = bytes.len();
        bytes[at % length] = byte;
        let _ = StateDict::read(&bytes);
        let _ = StateDict::read(&bytes[..cut % length]);
    }
}
