// The build without eval. The package bundles it into dist, so that a user of Tendril installs no native codec.
import { Decoder, Encoder, Tag } from 'cbor-x/index-no-eval';

export { Decoder, Encoder, Tag };
