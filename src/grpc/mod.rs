//! The tonic admin services, one file a service.
