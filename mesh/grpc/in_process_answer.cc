#include "mesh/grpc/in_process_answer.h"

#include <cstdint>
#include <map>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "grpc/byte_buffer.h"
#include "mesh/base/mutex.h"
#include "mesh/grpc/access.h"

namespace mesh::core {
namespace {

constexpr char kPathPrefix[] = "/mesh.in_process/";

InProcessAnswer::Metadata ToMetadata(const grpc_metadata_array& array) {
  InProcessAnswer::Metadata metadata;
  metadata.reserve(array.count);
  const auto text = [](const grpc_slice& slice) {
    return std::string(
        reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slice)),
        GRPC_SLICE_LENGTH(slice));
  };
  for (size_t i = 0; i < array.count; ++i) {
    const grpc_metadata& entry = array.metadata[i];
    // The core takes from a peer what it would not send itself.
    if (grpc_header_key_is_legal(entry.key) == 0 ||
        (grpc_is_binary_header(entry.key) == 0 &&
         grpc_header_nonbin_value_is_legal(entry.value) == 0)) {
      continue;
    }
    metadata.emplace_back(text(entry.key), text(entry.value));
  }
  return metadata;
}

// Metadata as the core wants it. The text stays `metadata`'s.
std::vector<grpc_metadata> ToCore(const InProcessAnswer::Metadata& metadata) {
  std::vector<grpc_metadata> core;
  core.reserve(metadata.size());
  const auto slice = [](const std::string& text) {
    return grpc_slice_from_static_buffer(text.data(), text.size());
  };
  for (const auto& [key, value] : metadata) {
    core.push_back({slice(key), slice(value), {{nullptr}}});
  }
  return core;
}

// A call as the server sees it.
struct Incoming {
  Incoming() {
    grpc_call_details_init(&details);
    grpc_metadata_array_init(&metadata);
  }
  ~Incoming() {
    grpc_call_details_destroy(&details);
    grpc_metadata_array_destroy(&metadata);
    if (message != nullptr) grpc_byte_buffer_destroy(message);
    if (call != nullptr) grpc_call_unref(call);
  }
  Incoming(const Incoming&) = delete;
  Incoming& operator=(const Incoming&) = delete;

  grpc_call* call = nullptr;  // Null: the server was shut down.
  grpc_call_details details;
  grpc_metadata_array metadata;
  // What it is answered with, while that is sent.
  InProcessAnswer answer;
  std::vector<grpc_metadata> initial;
  std::vector<grpc_metadata> trailing;
  grpc_byte_buffer* message = nullptr;
  int cancelled = 0;
};

}  // namespace

InProcessAnswer::InProcessAnswer(const RawAnswer& answer)
    : initial_metadata(ToMetadata(answer.initial_metadata)),
      trailing_metadata(ToMetadata(answer.trailing_metadata)),
      status(answer.status),
      has_message(answer.message != nullptr) {
  if (has_message) message = FromCore(answer.message);
}

struct InProcessServer::Core : std::enable_shared_from_this<Core> {
  Core() {
    grpc_init();
    grpc_arg arguments[2];
    const auto set = [](grpc_arg* argument, const char* name, int value) {
      argument->type = GRPC_ARG_INTEGER;
      argument->key = const_cast<char*>(name);
      argument->value.integer = value;
    };
    set(&arguments[0], GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, -1);
    set(&arguments[1], GRPC_ARG_ENABLE_CHANNELZ, 0);
    const grpc_channel_args args = {2, arguments};
    server = grpc_server_create(&args, nullptr);
    grpc_server_register_completion_queue(server, queue.queue(), nullptr);
    grpc_server_start(server);
    channel = CreateInProcessChannel(server, &args);
  }
  // A call that is still in use has the server and its queue.
  ~Core() {
    grpc_server_destroy(server);
    grpc_shutdown();
  }

  // Waits for one more call.
  void Listen() {
    auto incoming = std::make_shared<Incoming>();
    Incoming* const into = incoming.get();
    void* const tag = CoreQueue::Tag(
        [self = shared_from_this(), incoming = std::move(incoming)] {
          self->OnIncoming(incoming);
        },
        /*inlined=*/true);
    if (grpc_server_request_call(server, &into->call, &into->details,
                                 &into->metadata, queue.queue(), queue.queue(),
                                 tag) != GRPC_CALL_OK) {
      CoreQueue::RunRefused(tag);  // The core always takes it.
    }
  }

  void OnIncoming(const std::shared_ptr<Incoming>& incoming) {
    if (incoming->call == nullptr) return;
    Listen();
    incoming->answer = Take(
        absl::string_view(reinterpret_cast<const char*>(
                              GRPC_SLICE_START_PTR(incoming->details.method)),
                          GRPC_SLICE_LENGTH(incoming->details.method)));
    Answer(incoming);
  }

  InProcessAnswer Take(absl::string_view path) {
    uint64_t id = 0;
    InProcessAnswer answer;
    if (absl::ConsumePrefix(&path, kPathPrefix) &&
        absl::SimpleAtoi(path, &id)) {
      base::MutexLock lock(&mu);
      const auto found = answers.find(id);
      if (found != answers.end()) {
        answer = std::move(found->second);
        answers.erase(found);
        return answer;
      }
    }
    // Nobody waits for it any more.
    answer.status = grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED");
    return answer;
  }

  void Answer(const std::shared_ptr<Incoming>& incoming) {
    const InProcessAnswer& answer = incoming->answer;
    incoming->initial = ToCore(answer.initial_metadata);
    incoming->trailing = ToCore(answer.trailing_metadata);
    const std::string& words = answer.status.error_message();
    grpc_slice details =
        grpc_slice_from_static_buffer(words.data(), words.size());

    grpc_op ops[4] = {};
    size_t count = 0;
    grpc_op* op = &ops[count++];
    op->op = GRPC_OP_SEND_INITIAL_METADATA;
    op->data.send_initial_metadata.count = incoming->initial.size();
    op->data.send_initial_metadata.metadata = incoming->initial.data();
    if (answer.has_message) {
      incoming->message = ToCore(answer.message);
      op = &ops[count++];
      op->op = GRPC_OP_SEND_MESSAGE;
      op->data.send_message.send_message = incoming->message;
    }
    op = &ops[count++];
    op->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    op->data.send_status_from_server.status =
        static_cast<grpc_status_code>(answer.status.error_code());
    op->data.send_status_from_server.status_details = &details;
    op->data.send_status_from_server.trailing_metadata_count =
        incoming->trailing.size();
    op->data.send_status_from_server.trailing_metadata =
        incoming->trailing.data();
    op = &ops[count++];
    op->op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op->data.recv_close_on_server.cancelled = &incoming->cancelled;
    void* const tag = CoreQueue::Tag([self = shared_from_this(), incoming] {},
                                     /*inlined=*/true);
    if (ABSL_PREDICT_FALSE(grpc_call_start_batch(incoming->call, ops, count,
                                                 tag,
                                                 nullptr) != GRPC_CALL_OK)) {
      // Something in the answer cannot be sent: the call ends without it.
      grpc_call_cancel_with_status(
          incoming->call, GRPC_STATUS_INTERNAL,
          "mesh: the answer of a hedge or fallback cannot be handed over.",
          nullptr);
      CoreQueue::RunRefused(tag);
    }
  }

  void Shutdown() {
    grpc_channel_destroy(channel);
    // It is shut down when the event has come.
    grpc_server_shutdown_and_notify(
        server, queue.queue(), CoreQueue::Tag([self = shared_from_this()] {}));
    grpc_server_cancel_all_calls(server);
  }

  // Constant.
  CoreQueue queue;
  grpc_server* server;
  grpc_channel* channel;

  base::Mutex mu;
  uint64_t last_id ABSL_GUARDED_BY(mu) = 0;
  std::map<uint64_t, InProcessAnswer> answers ABSL_GUARDED_BY(mu);
};

InProcessServer::InProcessServer() : core_(std::make_shared<Core>()) {
  core_->Listen();
}

InProcessServer::~InProcessServer() { core_->Shutdown(); }

grpc_call* InProcessServer::NewCall(InProcessAnswer answer,
                                    grpc_completion_queue* queue,
                                    std::shared_ptr<void>* registration) {
  uint64_t id;
  {
    base::MutexLock lock(&core_->mu);
    id = ++core_->last_id;
    core_->answers.emplace(id, std::move(answer));
  }
  *registration = std::shared_ptr<void>(nullptr, [core = core_, id](void*) {
    InProcessAnswer unused;
    base::MutexLock lock(&core->mu);
    const auto found = core->answers.find(id);
    if (found == core->answers.end()) return;
    unused = std::move(found->second);
    core->answers.erase(found);
  });
  const std::string name = absl::StrCat(kPathPrefix, id);
  const grpc_slice path =
      grpc_slice_from_copied_buffer(name.data(), name.size());
  grpc_call* const call = grpc_channel_create_call(
      core_->channel, nullptr, GRPC_PROPAGATE_DEFAULTS, queue, path, nullptr,
      gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
  grpc_slice_unref(path);
  return call;
}

grpc_call* InProcessServer::NewSilentCall(grpc_call* parent) {
  // The server hears nothing of it as long as nothing is sent.
  return grpc_channel_create_call(
      core_->channel, parent, GRPC_PROPAGATE_CANCELLATION, core_->queue.queue(),
      grpc_slice_from_static_string("/mesh.in_process/silent"), nullptr,
      gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
}

}  // namespace mesh::core
