//! How messages are read. The protocol has receivers pass over fields whose wire type is another than they know (PROTOCOL.md 1.10), and prost
//! refuses the whole message. So one that it refuses is read again without such fields.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::LazyLock;

use prost::bytes::{Buf, BufMut};
use prost::encoding::{decode_key, encode_key, encode_varint, skip_field, DecodeContext, WireType};
use prost::{DecodeError, Message, Name};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic::Status;
use tonic_prost::ProstEncoder;

/// The codec of the generated service.
pub struct Lenient<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Lenient<T, U> {
    fn default() -> Self {
        Lenient(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Name + Default + Send + 'static> Codec for Lenient<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Reader<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reader(PhantomData)
    }
}

pub struct Reader<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for Reader<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let read = U::decode(bytes.clone()).or_else(|_| U::decode(without_strangers(bytes, &U::full_name())?.as_slice()));
        read.map(Some).map_err(|e| Status::invalid_argument(format!("{}: {e}", U::NAME)))
    }
}

/// What the fields of a message are: the wire type, whether they may be packed, and the message that is in them.
type Fields = HashMap<u32, (WireType, bool, Option<String>)>;

static MESSAGES: LazyLock<HashMap<String, Fields>> = LazyLock::new(|| {
    let set: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    let set = FileDescriptorSet::decode(set).expect("the build wrote it");
    let mut all = HashMap::new();
    for file in &set.file {
        file.message_type.iter().for_each(|m| learn(file.package(), m, &mut all));
    }
    all
});

fn learn(parent: &str, message: &DescriptorProto, all: &mut HashMap<String, Fields>) {
    let name = format!("{parent}.{}", message.name());
    message.nested_type.iter().for_each(|m| learn(&name, m, all));
    let field = |f: &prost_types::FieldDescriptorProto| {
        let (wire, inner) = match f.r#type() {
            Type::Message => (WireType::LengthDelimited, Some(f.type_name().trim_start_matches('.').to_string())),
            Type::String | Type::Bytes => (WireType::LengthDelimited, None),
            Type::Double | Type::Fixed64 | Type::Sfixed64 => (WireType::SixtyFourBit, None),
            Type::Float | Type::Fixed32 | Type::Sfixed32 => (WireType::ThirtyTwoBit, None),
            _ => (WireType::Varint, None),
        };
        (f.number() as u32, (wire, f.label() == Label::Repeated && wire != WireType::LengthDelimited, inner))
    };
    all.insert(name, message.field.iter().map(field).collect());
}

/// The message without the fields whose wire type is not theirs.
fn without_strangers(mut bytes: impl Buf, message: &str) -> Result<Vec<u8>, DecodeError> {
    let none = Fields::new();
    let fields = MESSAGES.get(message).unwrap_or(&none);
    let mut out = Vec::with_capacity(bytes.remaining());
    while bytes.has_remaining() {
        let (number, wire) = decode_key(&mut bytes)?;
        let known = fields.get(&number);
        let length = known.filter(|k| k.0 == wire || k.1 && wire == WireType::LengthDelimited).map(|_| wire);
        match (length, known.and_then(|k| k.2.as_ref())) {
            (None, _) => skip_field(wire, number, &mut bytes, DecodeContext::default())?,
            (Some(WireType::Varint), _) => {
                encode_key(number, wire, &mut out);
                encode_varint(prost::encoding::decode_varint(&mut bytes)?, &mut out);
            }
            (Some(wire), inner) => {
                let size = match wire {
                    WireType::SixtyFourBit => 8,
                    WireType::ThirtyTwoBit => 4,
                    _ => prost::encoding::decode_varint(&mut bytes)?,
                };
                if size > bytes.remaining() as u64 {
                    return prost::decode_length_delimiter(&[] as &[u8]).map(|_| out);
                    // the error for what is cut off
                }
                let mut value = bytes.copy_to_bytes(size as usize).to_vec();
                if let Some(inner) = inner {
                    value = without_strangers(value.as_slice(), inner)?;
                }
                encode_key(number, wire, &mut out);
                if wire == WireType::LengthDelimited {
                    encode_varint(value.len() as u64, &mut out);
                }
                out.put_slice(&value);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::pb::{Call, HostFrame};
    use super::*;

    #[test]
    fn fields_of_another_wire_type_are_passed_over() {
        let frame = HostFrame { seq: 7, cancels: vec![1, 300], calls: vec![Call { id: 9, ..Default::default() }], ..Default::default() };
        let mut bytes = frame.encode_to_vec();
        bytes.extend([5 << 3 | 2, 1, 0]); // drain, as bytes
        bytes.extend([3 << 3, 1]); // a call, as a number
        bytes.extend([3 << 3 | 2, 4, 1 << 3 | 2, 2, 0, 0]); // a call whose id is bytes
        assert!(HostFrame::decode(bytes.as_slice()).is_err());
        let read = HostFrame::decode(without_strangers(bytes.as_slice(), &HostFrame::full_name()).unwrap().as_slice()).unwrap();
        assert_eq!(read, HostFrame { calls: vec![frame.calls[0].clone(), Call::default()], ..frame });
        assert!(without_strangers(&[3 << 3 | 2, 200][..], &HostFrame::full_name()).is_err());
    }
}
