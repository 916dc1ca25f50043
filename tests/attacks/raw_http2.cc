#include "tests/attacks/raw_http2.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/hostile/peer.h"

namespace mesh::test {
namespace {

// SETTINGS_HEADER_TABLE_SIZE is 0: whatever the server sends is a literal.
constexpr absl::string_view kNoTable("\0\1\0\0\0\0", 6);
constexpr absl::string_view kEmptyMessage("\0\0\0\0\0", 5);

uint32_t Number(absl::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

// RFC 7541, 5.1. Takes an integer with a prefix of `bits` from `block`.
size_t TakeInteger(absl::string_view* block, int bits) {
  const size_t most = (size_t{1} << bits) - 1;
  if (block->empty()) return 0;
  size_t value = static_cast<uint8_t>(block->front()) & most;
  block->remove_prefix(1);
  if (value < most) return value;
  for (int shift = 0; !block->empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(block->front());
    block->remove_prefix(1);
    value += size_t{byte & 0x7fu} << shift;
    if ((byte & 0x80) == 0) break;
  }
  return value;
}

std::string TakeString(absl::string_view* block) {
  const size_t size = TakeInteger(block, 7);
  const std::string text(block->substr(0, size));
  block->remove_prefix(text.size());
  return text;
}

}  // namespace

RawHeaders LiteralsOf(absl::string_view block) {
  RawHeaders headers;
  while (!block.empty()) {
    const auto first = static_cast<uint8_t>(block.front());
    if ((first & 0x80) != 0) {  // All of it is in the table.
      TakeInteger(&block, 7);
      continue;
    }
    if ((first & 0xe0) == 0x20) {  // The table's size.
      TakeInteger(&block, 5);
      continue;
    }
    const size_t index = TakeInteger(&block, (first & 0x40) != 0 ? 6 : 4);
    std::string name = index == 0 ? TakeString(&block) : "";
    std::string value = TakeString(&block);
    headers.emplace_back(std::move(name), std::move(value));
  }
  return headers;
}

std::string RawEnd::text() const {
  return status < 0 ? "no status"
                    : absl::StrCat("status ", status, ": ", message);
}

RawHttp2::RawHttp2(RawLink* link) : link_(*link) {
  link_.Send(absl::StrCat(kPreface, Frame(kSettings, 0, 0, kNoTable)));
}

RawEnd RawHttp2::Call(absl::string_view path, const RawHeaders& headers) {
  RawHeaders all = {
      {":method", "POST"},          {":scheme", "http"},
      {":path", std::string(path)}, {":authority", "localhost"},
      {"te", "trailers"},           {"content-type", "application/grpc"}};
  all.insert(all.end(), headers.begin(), headers.end());
  return CallWith(all);
}

RawEnd RawHttp2::CallWith(const RawHeaders& headers) {
  const uint32_t stream = next_stream_;
  next_stream_ += 2;
  link_.Send(
      absl::StrCat(Frame(kHeaders, kEndHeaders, stream, HeaderBlock(headers)),
                   Frame(kData, kEndStream, stream, kEmptyMessage)));
  return ReadUntilEnd(stream);
}

RawEnd RawHttp2::ReadUntilEnd(uint32_t stream) {
  RawEnd end;
  uint8_t type = 0;
  uint8_t flags = 0;
  uint32_t of = 0;
  std::string payload;
  while (ReadFrame(&type, &flags, &of, &payload)) {
    if (type == kSettings && (flags & kAck) == 0) {
      link_.Send(Frame(kSettings, kAck, 0, ""));
    } else if (type == kPing && (flags & kAck) == 0) {
      link_.Send(Frame(kPing, kAck, 0, payload));
    }
    if (of != stream) continue;
    if (type == kRstStream) return end;
    if (type != kHeaders) continue;
    for (const auto& [name, value] : LiteralsOf(payload)) {
      if (name == "grpc-status" && !absl::SimpleAtoi(value, &end.status)) {
        end.message = absl::StrCat("unreadable: ", value);
      }
      if (name == "grpc-message") end.message = value;
    }
    if ((flags & kEndStream) != 0) return end;
  }
  return end;
}

bool RawHttp2::ReadFrame(uint8_t* type, uint8_t* flags, uint32_t* stream,
                         std::string* payload) {
  constexpr size_t kHeaderSize = 9;
  const auto size = [this] {
    return read_.size() < kHeaderSize
               ? kHeaderSize
               : kHeaderSize + Number(absl::string_view(read_).substr(0, 3));
  };
  while (read_.size() < size()) {
    const std::string more = link_.Receive();
    if (more.empty()) return false;
    read_ += more;
  }
  const absl::string_view frame(read_);
  const size_t end = size();
  *type = static_cast<uint8_t>(frame[3]);
  *flags = static_cast<uint8_t>(frame[4]);
  *stream = Number(frame.substr(5, 4)) & 0x7fffffff;
  *payload = std::string(frame.substr(kHeaderSize, end - kHeaderSize));
  read_.erase(0, end);
  return true;
}

}  // namespace mesh::test
