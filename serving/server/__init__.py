"""A model server that speaks TensorFlow Serving: its flags, folder layout, REST and gRPC; see docs/model-server.md.

flags, settings ─► main ─► lifecycle ◄─ source, model_config      (what is loaded)
                    │          │
                    │          ▼
                    │       engine ◄─ saved_model, tflite, warmup  (one loaded version)
                    ▼          ▲
         http ─► rest ─► inference ─► batching                     (one request)
                 grpc ─────┘
         rest ─► site ─► pages ─► openapi ─► forms ─► facts        (for people)
         main ─► observed ◄─ logs, tracing                         (who looks at requests)
"""
