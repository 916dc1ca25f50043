#include "tests/matrix/driver.h"

#include <utility>

#include "tests/matrix/driver_styles.h"

namespace mesh::test {

const std::vector<Kind>& AllKinds() {
  static const auto* const kinds = new std::vector<Kind>{
      Kind::kUnary, Kind::kClientStream, Kind::kServerStream, Kind::kBidi};
  return *kinds;
}

const std::vector<Style>& AllStyles() {
  static const auto* const styles =
      new std::vector<Style>{Style::kSync,
                             Style::kAsync,
                             Style::kPrepare,
                             Style::kEarlyFinish,
                             Style::kCallback,
                             Style::kFunction,
                             Style::kGenericAsync,
                             Style::kGenericCallback,
                             Style::kGenericFunction,
                             Style::kTemplatedAsync,
                             Style::kTemplatedCallback};
  return *styles;
}

const char* Name(Kind kind) {
  switch (kind) {
    case Kind::kUnary:
      return "Unary";
    case Kind::kClientStream:
      return "ClientStream";
    case Kind::kServerStream:
      return "ServerStream";
    case Kind::kBidi:
      break;
  }
  return "Bidi";
}

const char* Name(Style style) {
  switch (style) {
    case Style::kSync:
      return "Sync";
    case Style::kAsync:
      return "Async";
    case Style::kPrepare:
      return "Prepare";
    case Style::kEarlyFinish:
      return "EarlyFinish";
    case Style::kCallback:
      return "Callback";
    case Style::kFunction:
      return "Function";
    case Style::kGenericAsync:
      return "GenericAsync";
    case Style::kGenericCallback:
      return "GenericCallback";
    case Style::kGenericFunction:
      return "GenericFunction";
    case Style::kTemplatedAsync:
      return "TemplatedAsync";
    case Style::kTemplatedCallback:
      break;
  }
  return "TemplatedCallback";
}

bool Writes(Kind kind) {
  return kind == Kind::kClientStream || kind == Kind::kBidi;
}
bool Reads(Kind kind) {
  return kind == Kind::kServerStream || kind == Kind::kBidi;
}

bool Exists(Kind kind, Style style) {
  return kind == Kind::kUnary ||
         (style != Style::kFunction && style != Style::kGenericFunction);
}

const std::vector<Way>& AllWays() {
  static const auto* const ways = [] {
    auto* const all = new std::vector<Way>;
    for (Kind kind : AllKinds()) {
      for (Style style : AllStyles()) {
        if (Exists(kind, style)) all->push_back({kind, style});
      }
    }
    return all;
  }();
  return *ways;
}

void PrintTo(const Way& way, std::ostream* out) {
  *out << Name(way.kind) << "_" << Name(way.style);
}

bool CanReadInitialMetadata(Kind kind, Style style) {
  if (style == Style::kFunction || style == Style::kGenericFunction) {
    return false;
  }
  // An early Finish() takes the initial metadata with it.
  return style != Style::kEarlyFinish &&
         (kind != Kind::kUnary || style != Style::kSync);
}

std::unique_ptr<Driver> Driver::Make(
    Kind kind, Style style, std::shared_ptr<grpc::ChannelInterface> channel) {
  switch (style) {
    case Style::kSync:
      return MakeSyncDriver(kind, std::move(channel));
    case Style::kAsync:
    case Style::kPrepare:
    case Style::kEarlyFinish:
    case Style::kGenericAsync:
    case Style::kTemplatedAsync:
      return MakeAsyncDriver(kind, style, std::move(channel));
    case Style::kCallback:
    case Style::kFunction:
    case Style::kGenericCallback:
    case Style::kGenericFunction:
    case Style::kTemplatedCallback:
      return MakeCallbackDriver(kind, style, std::move(channel));
  }
  return nullptr;
}

std::string MethodOf(Kind kind) {
  switch (kind) {
    case Kind::kUnary:
      return "/mesh.test.TestService/Unary";
    case Kind::kClientStream:
      return "/mesh.test.TestService/ClientStream";
    case Kind::kServerStream:
      return "/mesh.test.TestService/ServerStream";
    case Kind::kBidi:
      break;
  }
  return "/mesh.test.TestService/Bidi";
}

void Encode(const Request& request, Request* message) { *message = request; }
void Encode(const Request& request, grpc::ByteBuffer* message) {
  const std::string bytes = request.SerializeAsString();
  // In pieces, as a buffer may be.
  std::vector<grpc::Slice> slices;
  slices.emplace_back(bytes.substr(0, bytes.size() / 2));
  slices.emplace_back(bytes.substr(bytes.size() / 2));
  *message = grpc::ByteBuffer(slices.data(), slices.size());
}
void Decode(Reply& message, Reply* reply) { *reply = message; }
void Decode(grpc::ByteBuffer& message, Reply* reply) {
  reply->Clear();
  if (!message.Valid()) return;
  grpc::Slice bytes;
  if (!message.DumpToSingleSlice(&bytes).ok() ||
      !reply->ParseFromArray(bytes.begin(), static_cast<int>(bytes.size()))) {
    reply->set_payload("not a Reply");
  }
}

}  // namespace mesh::test
