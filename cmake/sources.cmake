# Made by `./run sources` from the BUILD files. Do not edit.

set(MESH_SOURCES
  mesh/balancing/least_request.cc
  mesh/balancing/load_balancer.cc
  mesh/balancing/round_robin.cc
  mesh/balancing/tier.cc
  mesh/balancing/weight_table.cc
  mesh/base/clock.cc
  mesh/base/event_loop.cc
  mesh/base/file.cc
  mesh/base/file_poller.cc
  mesh/base/foreign_code.cc
  mesh/base/guard.cc
  mesh/base/random.cc
  mesh/base/utf8.cc
  mesh/call/call_hedge.cc
  mesh/call/call_machine.cc
  mesh/call/call_retry.cc
  mesh/call/call_story.cc
  mesh/call/trace.cc
  mesh/channel/channel.cc
  mesh/channel/early_batches.cc
  mesh/channel/fallback.cc
  mesh/channel/hedge_race.cc
  mesh/channel/logical_call.cc
  mesh/channel/outcome.cc
  mesh/channel/stream_batches.cc
  mesh/channel/stream_call.cc
  mesh/channel/stream_retry.cc
  mesh/channel/unary_call.cc
  mesh/cluster/health.cc
  mesh/cluster/load_shares.cc
  mesh/cluster/membership.cc
  mesh/config/address.cc
  mesh/config/build_endpoints.cc
  mesh/config/build_guards.cc
  mesh/config/build_policy.cc
  mesh/config/build_security.cc
  mesh/config/builder.cc
  mesh/config/checks.cc
  mesh/config/defaults.cc
  mesh/config/document.cc
  mesh/config/file_watcher.cc
  mesh/config/json_parser.cc
  mesh/config/loader.cc
  mesh/config/old_names.cc
  mesh/config/printer.cc
  mesh/config/problems.cc
  mesh/config/reader.cc
  mesh/config/service_config.cc
  mesh/config/target.cc
  mesh/config/target_text.cc
  mesh/config/text.cc
  mesh/config/yaml_parser.cc
  mesh/discovery/dns_lookup.cc
  mesh/discovery/dns_resolver.cc
  mesh/discovery/feed.cc
  mesh/discovery/file_resolver.cc
  mesh/discovery/resolver.cc
  mesh/discovery/update_filter.cc
  mesh/front/background.cc
  mesh/front/caller_verifier.cc
  mesh/front/doors.cc
  mesh/front/identities.cc
  mesh/front/identity_holder.cc
  mesh/front/registry.cc
  mesh/front/service_secrets.cc
  mesh/front/shown_leaves.cc
  mesh/grpc/auth_context.cc
  mesh/grpc/connection_acceptor.cc
  mesh/grpc/core_queue.cc
  mesh/grpc/failure.cc
  mesh/grpc/in_process_answer.cc
  mesh/grpc/interceptors.cc
  mesh/grpc/op_set.cc
  mesh/grpc/parent_watch.cc
  mesh/grpc/raw_call.cc
  mesh/grpc/server_credentials.cc
  mesh/grpc/socket_watch.cc
  mesh/grpc/time.cc
  mesh/incoming/incoming_call.cc
  mesh/mesh.cc
  mesh/options/service.cc
  mesh/resilience/admission.cc
  mesh/resilience/caps.cc
  mesh/resilience/circuit_breaker.cc
  mesh/resilience/concurrency_limit.cc
  mesh/resilience/guard.cc
  mesh/resilience/health/doubt.cc
  mesh/resilience/health/ledger.cc
  mesh/resilience/health/monitor.cc
  mesh/resilience/health/pace.cc
  mesh/resilience/health/population.cc
  mesh/resilience/health/silence.cc
  mesh/resilience/health/state.cc
  mesh/resilience/health/trial.cc
  mesh/resilience/health/usual.cc
  mesh/resilience/latency_tracker.cc
  mesh/resilience/rate_limiter.cc
  mesh/resilience/retry_budget.cc
  mesh/resilience/throttle.cc
  mesh/security/audit.cc
  mesh/security/authorization.cc
  mesh/security/certificate.cc
  mesh/security/client_credentials.cc
  mesh/security/crl.cc
  mesh/security/expiry.cc
  mesh/security/files.cc
  mesh/security/files_policy.cc
  mesh/security/identity.cc
  mesh/security/path_watch.cc
  mesh/security/peer_pattern.cc
  mesh/security/pem.cc
  mesh/security/placeholder.cc
  mesh/security/rule_check.cc
  mesh/security/source.cc
  mesh/security/spiffe_id.cc
  mesh/security/svid_response.cc
  mesh/security/trust.cc
  mesh/security/verifier.cc
  mesh/security/workload_api.cc
  mesh/security/workload_policy.cc
  mesh/server/attachment.cc
  mesh/server/bind.cc
  mesh/server/blocking_pool.cc
  mesh/server/connection_ledger.cc
  mesh/server/guard.cc
  mesh/server/listen.cc
  mesh/server/listener.cc
  mesh/server/peer_trust.cc
  mesh/server/server.cc
  mesh/service/application.cc
  mesh/service/closing.cc
  mesh/service/connection_counts.cc
  mesh/service/connection_plan.cc
  mesh/service/connections.cc
  mesh/service/connectivity.cc
  mesh/service/endpoint.cc
  mesh/service/grpc_connection.cc
  mesh/service/health_log.cc
  mesh/service/lingering.cc
  mesh/service/live_streams.cc
  mesh/service/method_table.cc
  mesh/service/parking_lot.cc
  mesh/service/prober.cc
  mesh/service/proxy.cc
  mesh/service/renewal_gate.cc
  mesh/service/runtime.cc
  mesh/service/secrets.cc
  mesh/service/service.cc
  mesh/telemetry/metrics.cc
  mesh/telemetry/prometheus.cc
  mesh/upstream/method_policies.cc
  mesh/upstream/placeholder.cc
  mesh/upstream/upstream.cc)

set(MESH_PROTOS
  mesh/security/workload.proto
  mesh/v1/annotations.proto
  mesh/v1/config.proto)

set(MESH_PUBLIC_HEADERS
  mesh/base/guard.h
  mesh/base/mutex.h
  mesh/cluster/endpoint.h
  mesh/cluster/endpoint_view.h
  mesh/cluster/health.h
  mesh/cluster/readiness.h
  mesh/fallback.h
  mesh/log.h
  mesh/mesh.h
  mesh/security/crl.h
  mesh/security/crypto_ptr.h
  mesh/security/identity.h
  mesh/security/peer.h
  mesh/security/source.h
  mesh/security/spiffe_id.h
  mesh/security/trust.h
  mesh/server/peer.h
  mesh/server/server.h
  mesh/telemetry/events.h
  mesh/telemetry/observer.h
  mesh/telemetry/snapshot.h
  mesh/v1/annotations.pb.h
  mesh/v1/config.pb.h
  mesh/version.h)

set(MESH_CERTS_SOURCES
  mesh/certs/agent.cc
  mesh/certs/arguments.cc
  mesh/certs/authority.cc
  mesh/certs/authority_files.cc
  mesh/certs/compare.cc
  mesh/certs/main.cc
  mesh/certs/program.cc
  mesh/certs/serve.cc
  mesh/certs/write_file.cc)

set(MESH_CHECK_SOURCES
  mesh/check/check.cc
  mesh/check/main.cc)

set(MESH_TEST_PROGRAMS
  authorization_test
  balancing_test
  base_test
  call_call_test
  call_nohook_test
  certs_test
  channel_call_test
  channel_test
  cleansing_test
  client_credentials_test
  cluster_test
  config_test
  discovery_test
  door_test
  front_test
  generation_test
  grpc_test
  health_test
  identity_test
  mutator_test
  parts_test
  recorded_calls_test
  resilience_test
  server_test
  service_test
  simulation_test
  source_test
  telemetry_test
  upstream_test
  workload_api_test)

set(MESH_authorization_test_SOURCES
  mesh/security/audit_test.cc
  mesh/security/authorization_test.cc
  mesh/security/rule_check_test.cc)

set(MESH_balancing_test_SOURCES
  mesh/balancing/balancing_test.cc
  mesh/balancing/least_request_test.cc
  mesh/balancing/priority_test.cc
  mesh/balancing/round_robin_test.cc
  mesh/balancing/tier_test.cc
  mesh/balancing/trial_pick_test.cc
  mesh/balancing/weight_table_test.cc)

set(MESH_base_test_SOURCES
  mesh/base/byte_budget_test.cc
  mesh/base/clock_test.cc
  mesh/base/event_loop_test.cc
  mesh/base/file_poller_test.cc
  mesh/base/foreign_code_test.cc
  mesh/base/on_demand_test.cc
  mesh/base/random_test.cc
  mesh/base/scheduler_test.cc
  mesh/base/sharded_counter_test.cc
  mesh/base/snapshot_slot_test.cc
  mesh/base/utf8_test.cc)

set(MESH_call_call_test_SOURCES
  mesh/call/call_machine_admission_test.cc
  mesh/call/call_machine_dial_test.cc
  mesh/call/call_machine_fault_test.cc
  mesh/call/call_machine_health_test.cc
  mesh/call/call_machine_hedging_test.cc
  mesh/call/call_machine_retry_test.cc
  mesh/call/call_machine_story_test.cc
  mesh/call/call_machine_test.cc
  mesh/call/call_machine_texts_test.cc
  mesh/call/trace_test.cc)

set(MESH_call_nohook_test_SOURCES
  mesh/channel/channel.cc
  mesh/channel/early_batches.cc
  mesh/channel/fallback.cc
  mesh/channel/global_interceptor_test.cc
  mesh/channel/hedge_race.cc
  mesh/channel/hedge_race_test.cc
  mesh/channel/logical_call.cc
  mesh/channel/outcome.cc
  mesh/channel/stream_batches.cc
  mesh/channel/stream_call.cc
  mesh/channel/stream_call_test.cc
  mesh/channel/stream_retry.cc
  mesh/channel/unary_call.cc
  mesh/channel/unary_call_test.cc
  mesh/grpc/fake_core.cc)

set(MESH_call_nohook_test_PROTOS
  tests/support/test_service.proto)

set(MESH_call_nohook_test_DEFINITIONS
  MESH_CALL_HOOK=0)

set(MESH_certs_test_SOURCES
  mesh/certs/authority.cc
  mesh/certs/authority_test.cc)

set(MESH_channel_call_test_SOURCES
  mesh/channel/global_interceptor_test.cc
  mesh/channel/hedge_race_test.cc
  mesh/channel/stream_call_test.cc
  mesh/channel/unary_call_test.cc
  mesh/grpc/fake_core.cc)

set(MESH_channel_call_test_PROTOS
  tests/support/test_service.proto)

set(MESH_channel_test_SOURCES
  mesh/channel/channel_test.cc
  tests/support/test_server.cc)

set(MESH_channel_test_PROTOS
  tests/support/test_service.proto)

set(MESH_cleansing_test_SOURCES
  mesh/certs/agent.cc
  mesh/certs/authority.cc
  mesh/security/cleansing_test.cc)

set(MESH_client_credentials_test_SOURCES
  mesh/certs/authority.cc
  mesh/security/client_credentials_test.cc
  mesh/security/testing/certificates.cc
  mesh/security/testing/servers.cc)

set(MESH_cluster_test_SOURCES
  mesh/cluster/live_endpoint_test.cc
  mesh/cluster/load_shares_test.cc
  mesh/cluster/membership_test.cc)

set(MESH_config_test_SOURCES
  mesh/config/build_security_test.cc
  mesh/config/docs_test.cc
  mesh/config/endpoints_test.cc
  mesh/config/file_watcher_test.cc
  mesh/config/keys_test.cc
  mesh/config/loader_file_test.cc
  mesh/config/loader_meaning_test.cc
  mesh/config/loader_test.cc
  mesh/config/loader_text_test.cc
  mesh/config/names_test.cc
  mesh/config/printer_test.cc
  mesh/config/problems_test.cc
  mesh/config/schema_test.cc
  mesh/config/target_test.cc)

set(MESH_discovery_test_SOURCES
  mesh/discovery/dns_lookup_test.cc
  mesh/discovery/dns_resolver_test.cc
  mesh/discovery/dns_test_server.cc
  mesh/discovery/feed_test.cc
  mesh/discovery/file_resolver_test.cc
  mesh/discovery/update_filter_test.cc)

set(MESH_door_test_SOURCES
  mesh/server/bind_test.cc
  mesh/server/connection_ledger_test.cc
  mesh/server/listener_test.cc
  mesh/server/waiting_room_test.cc)

set(MESH_front_test_SOURCES
  mesh/certs/authority.cc
  mesh/front/application_code_test.cc
  mesh/front/background_test.cc
  mesh/front/caller_verifier_test.cc
  mesh/front/identities_test.cc
  mesh/front/identity_holder_test.cc
  mesh/front/registry_test.cc
  mesh/front/service_secrets_test.cc
  mesh/front/shown_leaves_test.cc)

set(MESH_generation_test_SOURCES
  mesh/certs/authority.cc
  mesh/channel/generation_test.cc)

set(MESH_generation_test_PROTOS
  tests/support/test_service.proto)

set(MESH_grpc_test_SOURCES
  mesh/grpc/in_process_answer_test.cc)

set(MESH_health_test_SOURCES
  mesh/resilience/health/doubt_test.cc
  mesh/resilience/health/ledger_test.cc
  mesh/resilience/health/monitor_failures_test.cc
  mesh/resilience/health/monitor_inherit_test.cc
  mesh/resilience/health/monitor_return_test.cc
  mesh/resilience/health/monitor_silence_test.cc
  mesh/resilience/health/monitor_test.cc
  mesh/resilience/health/monitor_trial_test.cc
  mesh/resilience/health/pace_test.cc
  mesh/resilience/health/priorities_test.cc
  mesh/resilience/health/silence_test.cc
  mesh/resilience/health/state_test.cc
  mesh/resilience/health/trial_test.cc)

set(MESH_identity_test_SOURCES
  mesh/certs/authority.cc
  mesh/security/identity_test.cc
  mesh/security/peer_pattern_test.cc
  mesh/security/pem_test.cc
  mesh/security/spiffe_id_test.cc
  mesh/security/testing/certificates.cc
  mesh/security/trust_test.cc
  mesh/security/verifier_crl_test.cc
  mesh/security/verifier_names_test.cc
  mesh/security/verifier_test.cc)

set(MESH_mutator_test_SOURCES
  mesh/testing/mutator.cc
  mesh/testing/mutator_test.cc)

set(MESH_parts_test_SOURCES
  mesh/channel/outcome_test.cc
  mesh/channel/send_buffer_test.cc
  mesh/channel/spare_memory_test.cc)

set(MESH_recorded_calls_test_SOURCES
  mesh/simulation/calls.cc
  mesh/simulation/clients.cc
  mesh/simulation/description.cc
  mesh/simulation/distribution.cc
  mesh/simulation/invariants.cc
  mesh/simulation/player.cc
  mesh/simulation/recorded_calls_test.cc
  mesh/simulation/replay.cc
  mesh/simulation/result.cc
  mesh/simulation/second_connections.cc
  mesh/simulation/servers.cc
  mesh/simulation/simulation.cc
  mesh/simulation/tally.cc
  mesh/simulation/trace_line.cc
  tests/support/test_server.cc)

set(MESH_recorded_calls_test_PROTOS
  tests/support/test_service.proto)

set(MESH_resilience_test_SOURCES
  mesh/resilience/admission_test.cc
  mesh/resilience/circuit_breaker_test.cc
  mesh/resilience/concurrency_limit_test.cc
  mesh/resilience/guard_test.cc
  mesh/resilience/latency_tracker_test.cc
  mesh/resilience/rate_limiter_test.cc
  mesh/resilience/retry_budget_test.cc
  mesh/resilience/throttle_test.cc)

set(MESH_server_test_SOURCES
  mesh/server/server_test.cc)

set(MESH_server_test_PROTOS
  tests/support/test_service.proto)

set(MESH_service_test_SOURCES
  mesh/service/application_test.cc
  mesh/service/connection_counts_test.cc
  mesh/service/connection_plan_test.cc
  mesh/service/connections_test.cc
  mesh/service/connectivity_test.cc
  mesh/service/endpoint_test.cc
  mesh/service/health_log_test.cc
  mesh/service/lingering_test.cc
  mesh/service/live_streams_test.cc
  mesh/service/method_table_test.cc
  mesh/service/parking_lot_test.cc
  mesh/service/prober_test.cc
  mesh/service/proxy_test.cc
  mesh/service/renewal_gate_test.cc
  mesh/service/renewal_test.cc
  mesh/service/second_connections_test.cc
  mesh/service/service_test.cc)

set(MESH_service_test_PROTOS
  tests/support/test_service.proto)

set(MESH_simulation_test_SOURCES
  mesh/simulation/calls.cc
  mesh/simulation/clients.cc
  mesh/simulation/description.cc
  mesh/simulation/distribution.cc
  mesh/simulation/distribution_test.cc
  mesh/simulation/event_queue_test.cc
  mesh/simulation/invariants.cc
  mesh/simulation/observe_test.cc
  mesh/simulation/player.cc
  mesh/simulation/random_scenario.cc
  mesh/simulation/random_scenario_test.cc
  mesh/simulation/replay.cc
  mesh/simulation/replay_test.cc
  mesh/simulation/result.cc
  mesh/simulation/second_connections.cc
  mesh/simulation/servers.cc
  mesh/simulation/simulation.cc
  mesh/simulation/simulation_connections_test.cc
  mesh/simulation/simulation_health_test.cc
  mesh/simulation/simulation_limits_test.cc
  mesh/simulation/simulation_priorities_test.cc
  mesh/simulation/simulation_test.cc
  mesh/simulation/simulation_tiers_test.cc
  mesh/simulation/tally.cc
  mesh/simulation/trace_line.cc)

set(MESH_source_test_SOURCES
  mesh/certs/authority.cc
  mesh/security/files_policy_test.cc
  mesh/security/files_test.cc
  mesh/security/path_watch_test.cc
  mesh/security/source_test.cc)

set(MESH_telemetry_test_SOURCES
  mesh/telemetry/caught_observer_test.cc
  mesh/telemetry/fan_out_test.cc
  mesh/telemetry/metrics_test.cc
  mesh/telemetry/prometheus_test.cc)

set(MESH_upstream_test_SOURCES
  mesh/upstream/method_policies_test.cc
  mesh/upstream/upstream_test.cc)

set(MESH_workload_api_test_SOURCES
  mesh/certs/agent.cc
  mesh/certs/authority.cc
  mesh/security/svid_response_test.cc
  mesh/security/workload_api_test.cc
  mesh/security/workload_policy_test.cc)

set(MESH_EXAMPLE_PROGRAMS
  callback
  completion_queue
  fallback
  greeter
  policy
  quickstart
  server
  simulate
  streaming
  tier
  visitor)

set(MESH_callback_SOURCES
  examples/async/callback.cc)

set(MESH_callback_PROTOS
  examples/hello/hello.proto)

set(MESH_completion_queue_SOURCES
  examples/async/completion_queue.cc)

set(MESH_completion_queue_PROTOS
  examples/hello/hello.proto)

set(MESH_fallback_SOURCES
  examples/fallback/fallback.cc)

set(MESH_fallback_PROTOS
  examples/hello/hello.proto)

set(MESH_greeter_SOURCES
  examples/mtls/greeter.cc)

set(MESH_greeter_PROTOS
  examples/hello/hello.proto)

set(MESH_policy_SOURCES
  examples/policy/policy.cc)

set(MESH_policy_PROTOS
  examples/hello/hello.proto)

set(MESH_quickstart_SOURCES
  examples/quickstart/quickstart.cc)

set(MESH_quickstart_PROTOS
  examples/hello/hello.proto)

set(MESH_server_SOURCES
  examples/hello/server.cc)

set(MESH_server_PROTOS
  examples/hello/hello.proto)

set(MESH_simulate_SOURCES
  examples/simulate/simulate.cc
  mesh/front/services.cc
  mesh/simulation/calls.cc
  mesh/simulation/clients.cc
  mesh/simulation/description.cc
  mesh/simulation/distribution.cc
  mesh/simulation/invariants.cc
  mesh/simulation/player.cc
  mesh/simulation/replay.cc
  mesh/simulation/result.cc
  mesh/simulation/second_connections.cc
  mesh/simulation/servers.cc
  mesh/simulation/simulation.cc
  mesh/simulation/tally.cc
  mesh/simulation/trace_line.cc)

set(MESH_streaming_SOURCES
  examples/streaming/streaming.cc)

set(MESH_streaming_PROTOS
  examples/hello/hello.proto)

set(MESH_tier_SOURCES
  examples/tier/tier.cc)

set(MESH_tier_PROTOS
  examples/hello/hello.proto)

set(MESH_visitor_SOURCES
  examples/mtls/visitor.cc)

set(MESH_visitor_PROTOS
  examples/hello/hello.proto)
