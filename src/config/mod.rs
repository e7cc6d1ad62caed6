//! The server's configuration: flag > environment > file > default, assembled from each module's own `Config`.
