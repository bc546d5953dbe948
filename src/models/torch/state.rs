//! The tensors of a checkpoint, by name.

use std::collections::{BTreeMap, HashMap};

use super::pickle::{Global, Object, Pickle, PickleError};

/// What `torch.save` begins with.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// The version of the format that is read.
const VERSION: i128 = 1001;

/// A checkpoint whose tensors cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Its description is no pickle, or one that asks for more than data.
    #[error(transparent)]
    Pickle(#[from] Unreadable),
    /// It is no checkpoint of the format that is read.
    #[error("this is no checkpoint of PyTorch before 1.6: {0}")]
    Malformed(String),
    /// The network needs a tensor that is not there.
    #[error("the checkpoint has no tensor `{0}`")]
    Missing(String),
    /// The network needs a tensor of another shape.
    #[error("the tensor `{name}` is {found:?}, where {wanted:?} is needed")]
    Shape {
        /// Its name.
        name: String,
        /// In the checkpoint.
        found: Vec<usize>,
        /// By the network.
        wanted: Vec<usize>,
    },
    /// There is more than the network needs, so it is another network.
    #[error("the checkpoint has tensors that this network does not know: {}", .0.join(", "))]
    Left(Vec<String>),
}

/// Why a pickle was refused.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Unreadable(PickleError);

impl From<PickleError> for StateError {
    fn from(error: PickleError) -> Self {
        Self::Pickle(Unreadable(error))
    }
}

fn malformed<T>(what: impl Into<String>) -> Result<T, StateError> {
    Err(StateError::Malformed(what.into()))
}

/// The tensors of a checkpoint that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct StateDict<'a> {
    tensors: BTreeMap<String, Tensor<'a>>,
}

/// Numbers with a shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor<'a> {
    shape: Vec<usize>,
    /// How far apart neighbors along each dimension lie; whoever wrote the checkpoint may have transposed it.
    strides: Vec<usize>,
    element: Element,
    /// The bytes of the storage, from the tensor's first number on.
    bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Float,
    Long,
}

impl Element {
    fn size(self) -> usize {
        match self {
            Self::Float => 4,
            Self::Long => 8,
        }
    }
}

/// A tensor as the pickle has it, before its numbers are found.
struct Described<'p> {
    storage: &'p str,
    element: Element,
    /// Numbers in the storage.
    stored: usize,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl<'a> StateDict<'a> {
    /// Reads the description, and finds the numbers.
    pub fn read(mut bytes: &'a [u8]) -> Result<Self, StateError> {
        let magic = Pickle::read(&mut bytes)?;
        let version = Pickle::read(&mut bytes)?;
        if *magic.root() != Object::Int(MAGIC) || *version.root() != Object::Int(VERSION) {
            return malformed("it begins otherwise");
        }
        if !is_little_endian(&Pickle::read(&mut bytes)?) {
            return malformed("it was written on a big-endian machine");
        }
        let description = Pickle::read(&mut bytes)?;
        let described = tensors(&description)?;
        let mut storages: HashMap<&str, (Element, usize, Option<&[u8]>)> = HashMap::new();
        for (_, tensor) in &described {
            let storage = (tensor.element, tensor.stored, None);
            if *storages.entry(tensor.storage).or_insert(storage) != storage {
                return malformed("two tensors see one storage in two ways");
            }
        }
        let names = Pickle::read(&mut bytes)?;
        let Object::List(list) = names.root() else {
            return malformed("the names of the storages are no list");
        };
        for name in list {
            let Object::Text(name) = names.get(*name) else { return malformed("a storage has no name") };
            let Some((element, stored, found @ None)) = storages.get_mut(name.as_str()) else {
                return malformed("a storage belongs to no tensor, or comes twice");
            };
            let (count, rest) = bytes.split_at_checked(8).ok_or_else(too_short)?;
            let wanted = stored.checked_mul(element.size()).ok_or_else(too_short)?;
            if count != (*stored as u64).to_le_bytes() {
                return malformed("a storage has another size than its tensors say");
            }
            let (numbers, rest) = rest.split_at_checked(wanted).ok_or_else(too_short)?;
            (*found, bytes) = (Some(numbers), rest);
        }
        if !bytes.is_empty() {
            return malformed("something follows the last storage");
        }
        let mut tensors = BTreeMap::new();
        for (name, tensor) in described {
            let (_, _, Some(numbers)) = storages[tensor.storage] else {
                return malformed("a storage is missing");
            };
            let start = tensor.offset.checked_mul(tensor.element.size());
            let bytes = start.and_then(|start| numbers.get(start..)).filter(|bytes| {
                // No number is there twice, so that a few bytes never become many numbers.
                let count = tensor.shape.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
                let within = bytes.len() / tensor.element.size();
                count.is_some_and(|count| count <= within)
                    && reach(&tensor.shape, &tensor.strides).is_some_and(|reach| reach <= within)
            });
            let Some(bytes) = bytes else {
                return malformed(format!("`{name}` reaches past its storage"));
            };
            let tensor =
                Tensor { shape: tensor.shape, strides: tensor.strides, element: tensor.element, bytes };
            if tensors.insert(name.to_owned(), tensor).is_some() {
                return malformed(format!("`{name}` comes twice"));
            }
        }
        Ok(Self { tensors })
    }

    /// Takes the 32-bit floats of a tensor that must have this shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, StateError> {
        let tensor = self.tensors.remove(name).ok_or_else(|| StateError::Missing(name.to_owned()))?;
        if tensor.shape != shape {
            let (name, wanted) = (name.to_owned(), shape.to_vec());
            return Err(StateError::Shape { name, found: tensor.shape, wanted });
        }
        if tensor.element != Element::Float {
            return malformed(format!("`{name}` does not hold floats"));
        }
        Ok(tensor.floats())
    }

    /// Checks that no tensor of floats is left. Counters are, which only training needs.
    pub fn finish(self) -> Result<(), StateError> {
        let floats = self.tensors.into_iter().filter(|(_, tensor)| tensor.element == Element::Float);
        match floats.map(|(name, _)| name).collect::<Vec<_>>() {
            left if left.is_empty() => Ok(()),
            left => Err(StateError::Left(left)),
        }
    }
}

impl Tensor<'_> {
    /// Returns its numbers, the last dimension running fastest.
    fn floats(&self) -> Vec<f32> {
        let (numbers, _) = self.bytes.as_chunks::<4>();
        let mut places = vec![0];
        for (&dim, &stride) in self.shape.iter().zip(&self.strides) {
            places = places.iter().flat_map(|&place| (0..dim).map(move |at| place + at * stride)).collect();
        }
        places.into_iter().map(|place| f32::from_le_bytes(numbers[place])).collect()
    }
}

/// Returns how many numbers a storage must have from the tensor's first on.
fn reach(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(0_usize, |last, (&dim, &stride)| last.checked_add((dim - 1).checked_mul(stride)?));
    last?.checked_add(1)
}

fn too_short() -> StateError {
    StateError::Malformed("it ends too early".to_owned())
}

fn is_little_endian(machine: &Pickle) -> bool {
    let Object::Dict(items) = machine.root() else { return false };
    let named = |key| matches!(machine.get(key), Object::Text(name) if name == "little_endian");
    items.iter().any(|&(key, value)| named(key) && *machine.get(value) == Object::Bool(true))
}

fn tensors(pickle: &Pickle) -> Result<Vec<(&str, Described<'_>)>, StateError> {
    let Object::Dict(items) = pickle.root() else { return malformed("it is no dictionary of tensors") };
    let tensor = |&(key, value): &(usize, usize)| {
        let Object::Text(name) = pickle.get(key) else { return malformed("a tensor has no name") };
        match described(pickle, value) {
            Some(tensor) => Ok((name.as_str(), tensor)),
            None => malformed(format!("`{name}` is no plain tensor of floats or whole numbers")),
        }
    };
    items.iter().map(tensor).collect()
}

/// Understands `_rebuild_tensor_v2((kind, class, key, device, stored, view), offset, size, stride, ...)`.
fn described(pickle: &Pickle, tensor: usize) -> Option<Described<'_>> {
    let Object::Call(Global::RebuildTensor, arguments) = pickle.get(tensor) else { return None };
    let [storage, offset, size, stride, ..] = arguments.as_slice() else { return None };
    let Object::Persistent(storage) = pickle.get(*storage) else { return None };
    let [kind, class, key, _device, stored, view] = *tuple(pickle, *storage)? else { return None };
    let (Object::Text(kind), Object::Text(key)) = (pickle.get(kind), pickle.get(key)) else { return None };
    let element = match pickle.get(class) {
        Object::Global(Global::FloatStorage) => Element::Float,
        Object::Global(Global::LongStorage) => Element::Long,
        _ => return None,
    };
    let shape = numbers(pickle, *size)?;
    let strides = numbers(pickle, *stride)?;
    let is_plain = kind == "storage" && *pickle.get(view) == Object::None;
    (is_plain && shape.len() == strides.len()).then_some(())?;
    Some(Described {
        storage: key,
        element,
        stored: number(pickle, stored)?,
        offset: number(pickle, *offset)?,
        shape,
        strides,
    })
}

fn tuple(pickle: &Pickle, id: usize) -> Option<&[usize]> {
    match pickle.get(id) {
        Object::Tuple(items) => Some(items),
        _ => None,
    }
}

fn number(pickle: &Pickle, id: usize) -> Option<usize> {
    match pickle.get(id) {
        Object::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

fn numbers(pickle: &Pickle, id: usize) -> Option<Vec<usize>> {
    tuple(pickle, id)?.iter().map(|&id| number(pickle, id)).collect()
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(in crate::models) mod tests;
