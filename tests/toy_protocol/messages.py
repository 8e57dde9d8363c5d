"""The messages of toy.v1.Toy. A real protocol compiles a .proto file with protoc; this is the same without the tool."""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

FILE = """
name: "toy.proto" package: "toy.v1" syntax: "proto3"
message_type {
  name: "BestRequest"
  field { name: "model" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "image" number: 2 type: TYPE_BYTES label: LABEL_OPTIONAL }
}
message_type {
  name: "BestResponse"
  field { name: "label" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "version" number: 2 type: TYPE_INT64 label: LABEL_OPTIONAL }
}
service {
  name: "Toy"
  method { name: "Best" input_type: ".toy.v1.BestRequest" output_type: ".toy.v1.BestResponse" }
}
"""

_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(text_format.Parse(FILE, descriptor_pb2.FileDescriptorProto()))

SERVICE = _POOL.FindServiceByName("toy.v1.Toy")
BestRequest = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("toy.v1.BestRequest"))
BestResponse = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("toy.v1.BestResponse"))
