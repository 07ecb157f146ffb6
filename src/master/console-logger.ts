import winston from 'winston';
import type { LogLevel } from '../core/config.ts';
import { printable } from '../parent/connection/classify-exit.ts';
import type { Logger } from './log-sink.ts';

/** Characters of one line. */
const MAX_LINE = 4096;

/** The default logger: winston, one line a record, on stderr. Control characters of remote texts are made harmless. */
export function consoleLogger(level: LogLevel): Logger {
  const line = winston.format.printf((info) => {
    const { stream, logger } = info as { stream?: string; logger?: string };
    return `${String(info['timestamp'])} ${info.level} [${printable(logger ?? 'tendril', 512).replaceAll('\n', ' ')}]${stream === undefined ? '' : ` ${stream}:`} ${printable(String(info.message), MAX_LINE).replaceAll('\n', '\n    ')}`;
  });
  const logger = winston.createLogger({
    level,
    format: winston.format.combine(winston.format.timestamp(), line),
    // winston's own declarations do not say that its transports are transports.
    // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
    transports: new winston.transports.Console({ stderrLevels: Object.keys(winston.config.npm.levels) }),
  });
  return { log: (recordLevel, message, meta) => logger.log(recordLevel, message, meta) };
}
