DROP TABLE slos;
DROP TABLE alert_routing;
DROP TABLE maintenance_windows;
DROP TABLE silences;
