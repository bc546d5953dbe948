//! A pickle in, the objects that it describes out, and nothing else.
//!
//! A pickle is a program for a stack machine whose `GLOBAL` and `REDUCE` call any function of Python by its name. This
//! machine calls none: four names are known, and a call of one is written down as an [`Object::Call`] for the caller
//! to judge. Every other name and every instruction that checkpoints do not need is refused.
//!
//! Invariant: an instruction makes at most one object, so memory and time are linear in the bytes. Objects refer to
//! each other by number; what refers to itself is harmless.

use std::collections::HashMap;

/// The number of an object.
pub(super) type Id = usize;

/// What a pickle describes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i128),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// Something outside of the pickle, by the name it has there.
    Persistent(Id),
    /// What a function would have made of its arguments.
    Call(Global, Vec<Id>),
}

/// The names that a checkpoint may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    FloatStorage,
    LongStorage,
}

impl Global {
    fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch", "FloatStorage") => Self::FloatStorage,
            ("torch", "LongStorage") => Self::LongStorage,
            _ => return None,
        })
    }
}

/// Bytes that are no pickle, or one that asks for more than data.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PickleError {
    #[error("the pickle ends too early")]
    Short,
    #[error("the pickle wants to call {0}, which is refused")]
    Global(String),
    #[error("the pickle has the instruction {0:#04x}, which is refused")]
    Instruction(u8),
    #[error("the pickle is damaged: {0}")]
    Damaged(&'static str),
}

/// All objects of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    objects: Vec<Object>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle from the front of `bytes`, and moves them behind it.
    pub fn read(bytes: &mut &[u8]) -> Result<Self, PickleError> {
        let mut machine = Machine {
            bytes,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = machine.run()?;
        let Machine { objects, .. } = machine;
        Ok(Self { objects, root })
    }

    pub fn root(&self) -> &Object {
        &self.objects[self.root]
    }

    /// Returns an object that another one of this pickle refers to.
    pub fn get(&self, id: Id) -> &Object {
        &self.objects[id]
    }
}

struct Machine<'a, 'b> {
    bytes: &'a mut &'b [u8],
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// How high the stack was at each mark that is still open.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'b> Machine<'_, 'b> {
    fn run(&mut self) -> Result<Id, PickleError> {
        loop {
            let instruction = self.take(1)?[0];
            match instruction {
                b'.' => return self.pop(),
                0x80 => match self.take(1)?[0] {
                    2 | 3 => {}
                    _ => return Err(PickleError::Damaged("it has another version")),
                },
                b'(' => self.marks.push(self.stack.len()),
                b'N' => self.push(Object::None),
                0x88 => self.push(Object::Bool(true)),
                0x89 => self.push(Object::Bool(false)),
                b'K' => {
                    let number = self.take(1)?[0];
                    self.push(Object::Int(number.into()));
                }
                b'M' => {
                    let number = u16::from_le_bytes(self.array()?);
                    self.push(Object::Int(number.into()));
                }
                b'J' => {
                    let number = i32::from_le_bytes(self.array()?);
                    self.push(Object::Int(number.into()));
                }
                0x8a => {
                    let number = self.long()?;
                    self.push(Object::Int(number));
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.array()?);
                    let text = std::str::from_utf8(self.take(length as usize)?);
                    let text = text.map_err(|_| PickleError::Damaged("a text is not UTF-8"))?.to_owned();
                    self.push(Object::Text(text));
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    let global = Global::named(module, name);
                    let global = global.ok_or_else(|| PickleError::Global(format!("{module}.{name}")))?;
                    self.push(Object::Global(global));
                }
                b')' => self.push(Object::Tuple(Vec::new())),
                b']' => self.push(Object::List(Vec::new())),
                b'}' => self.push(Object::Dict(Vec::new())),
                b't' => {
                    let items = self.since_mark()?;
                    self.push(Object::Tuple(items));
                }
                0x85..=0x87 => {
                    let count = usize::from(instruction - 0x84);
                    let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
                    items.reverse();
                    self.push(Object::Tuple(items));
                }
                b'q' => {
                    let slot = self.take(1)?[0];
                    self.keep(slot.into())?;
                }
                b'r' => {
                    let slot = u32::from_le_bytes(self.array()?);
                    self.keep(slot)?;
                }
                b'h' => {
                    let slot = self.take(1)?[0];
                    self.fetch(slot.into())?;
                }
                b'j' => {
                    let slot = u32::from_le_bytes(self.array()?);
                    self.fetch(slot)?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(vec![key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set(items)?;
                }
                b'Q' => {
                    let name = self.pop()?;
                    self.push(Object::Persistent(name));
                }
                b'R' => self.call()?,
                b'b' => self.set_state()?,
                other => return Err(PickleError::Instruction(other)),
            }
        }
    }

    fn call(&mut self) -> Result<(), PickleError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Object::Global(global), Object::Tuple(arguments)) =
            (&self.objects[function], &self.objects[arguments])
        else {
            return Err(PickleError::Damaged("it calls what is no function"));
        };
        let made = match global {
            Global::OrderedDict if arguments.is_empty() => Object::Dict(Vec::new()),
            global => Object::Call(*global, arguments.clone()),
        };
        self.push(made);
        Ok(())
    }

    /// An object's further attributes, which are not needed: those of a state dict say which code wrote which tensor.
    fn set_state(&mut self) -> Result<(), PickleError> {
        self.pop()?;
        let object = self.top()?;
        match self.objects[object] {
            Object::Dict(_) => Ok(()),
            _ => Err(PickleError::Damaged("it sets attributes of what is no dictionary")),
        }
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), PickleError> {
        let list = self.top()?;
        match &mut self.objects[list] {
            Object::List(list) => list.extend(items),
            _ => return Err(PickleError::Damaged("it appends to what is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: Vec<Id>) -> Result<(), PickleError> {
        let (pairs, rest) = items.as_chunks::<2>();
        let dict = self.top()?;
        match &mut self.objects[dict] {
            Object::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)))
            }
            _ => return Err(PickleError::Damaged("it sets items of what is no dictionary")),
        }
        Ok(())
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        self.top()?;
        self.stack.pop().ok_or(PickleError::Damaged("its stack is empty"))
    }

    /// Returns what lies on top; what lies below the last mark is out of reach.
    fn top(&self) -> Result<Id, PickleError> {
        let reach = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&top) if self.stack.len() > reach => Ok(top),
            _ => Err(PickleError::Damaged("its stack is empty")),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        let mark = self.marks.pop().ok_or(PickleError::Damaged("a mark is missing"))?;
        Ok(self.stack.split_off(mark))
    }

    fn keep(&mut self, slot: u32) -> Result<(), PickleError> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn fetch(&mut self, slot: u32) -> Result<(), PickleError> {
        let id = self.memo.get(&slot).ok_or(PickleError::Damaged("it fetches what was not kept"))?;
        self.stack.push(*id);
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], PickleError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(PickleError::Short)?;
        *self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        self.take(N)?.try_into().map_err(|_| PickleError::Short)
    }

    /// Reads a number of any length, two's complement, the lowest byte first.
    fn long(&mut self) -> Result<i128, PickleError> {
        let length = self.take(1)?[0];
        let bytes = self.take(length.into())?;
        if bytes.len() > size_of::<i128>() {
            return Err(PickleError::Damaged("a number is too large"));
        }
        let sign = if bytes.last().is_some_and(|&last| last >= 0x80) { 0xff } else { 0 };
        let mut whole = [sign; size_of::<i128>()];
        whole[..bytes.len()].copy_from_slice(bytes);
        Ok(i128::from_le_bytes(whole))
    }

    fn line(&mut self) -> Result<&'b str, PickleError> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n').ok_or(PickleError::Short)?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).map_err(|_| PickleError::Damaged("a name is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Object, PickleError> {
        Pickle::read(&mut &bytes[..]).map(|pickle| pickle.root().clone())
    }

    #[test]
    fn numbers_are_those_that_python_wrote() {
        // `pickle.dumps(number, 2)` of each.
        assert_eq!(read(b"\x80\x02K\x07."), Ok(Object::Int(7)));
        assert_eq!(read(b"\x80\x02M\xe9\x03."), Ok(Object::Int(1001)));
        assert_eq!(read(b"\x80\x02J\xff\xff\xff\xff."), Ok(Object::Int(-1)));
        assert_eq!(read(b"\x80\x02\x8a\x05\x00\x00\x00\x00\xff."), Ok(Object::Int(-(1 << 32))));
        assert_eq!(read(b"\x80\x02\x8a\x00."), Ok(Object::Int(0)));
    }

    #[test]
    fn what_was_kept_is_the_same_object() {
        // pair = ("a", ["a"]), the text kept and fetched
        let pickle =
            Pickle::read(&mut &b"\x80\x02X\x01\x00\x00\x00aq\x00]q\x01h\x00a\x86q\x02."[..]).unwrap();
        let Object::Tuple(items) = pickle.root() else { panic!("{pickle:?}") };
        assert_eq!(pickle.get(items[1]), &Object::List(vec![items[0]]));
    }

    #[test]
    fn no_function_is_called_and_no_other_name_is_known() {
        // cos\nsystem\n(X\x02\x00\x00\x00lstR. is `os.system("ls")`
        let attack = read(b"cos\nsystem\n(X\x02\x00\x00\x00lstR.");
        assert_eq!(attack, Err(PickleError::Global("os.system".to_owned())));
        let builtins = read(b"c__builtin__\neval\n(X\x01\x00\x00\x001tR.");
        assert_eq!(builtins, Err(PickleError::Global("__builtin__.eval".to_owned())));
        // STACK_GLOBAL, INST and OBJ call too.
        for (bytes, instruction) in [(&b"\x8c\x02os"[..], 0x8c), (b"(ios\nsystem\n.", b'i'), (b"(o.", b'o')] {
            assert_eq!(read(bytes), Err(PickleError::Instruction(instruction)));
        }
        assert!(matches!(read(b"K\x01)R."), Err(PickleError::Damaged(_))), "a number is no function");
    }

    #[test]
    fn damage_is_an_error() {
        for bytes in [&b""[..], b"\x80", b"\x80\x02", b"X\xff\xff\xff\xffabc", b"K", b"ccollections\nOrdered"]
        {
            assert_eq!(read(bytes), Err(PickleError::Short), "{bytes:?}");
        }
        for bytes in [
            &b"."[..],
            b"t.",
            b"K\x01(.",
            b"K\x01(a.",
            b"h\x00.",
            b"K\x01K\x02a.",
            b"}(K\x01u.",
            b"K\x01}b.",
            b"\x80\x09.",
            b"X\x01\x00\x00\x00\xff.",
        ] {
            assert!(matches!(read(bytes), Err(PickleError::Damaged(_))), "{bytes:?}: {:?}", read(bytes));
        }
    }
}
